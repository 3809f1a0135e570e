"""Detectors of tokens that need no audio: by hand, and through the commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from command_line import Run
from small_run import Made, made_in
from xbench import Call, ExecutionOptions, RunSpec, evaluate
from xbench.audit.stored_maps import explained, one_run, references_of
from xbench.data.listening import make_listening
from xbench.decisions.listening import (
    ClipSigns,
    _absent,
    _reliability,
    _Truth,
    clip_signs,
    consistency,
    entropies,
    listening,
)
from xbench.errors import UsageError
from xbench.maps import GridMap, Layout, standardise
from xbench.metrics.batch import Maps
from xbench.results import load_results
from xbench.runner.keys import Certainty, map_key


def test_entropy_is_one_of_what_says_nothing_and_none_of_a_single_frame() -> None:
    axes = Layout((0, 1, 2), ("a", "b", "c"), (0, 1, 2), 4, 8, 2, 0.01)
    rows = np.array([[2.0, 2, 2, 2], [0, 0, 7, 0], [1, 2, 2, 1]])
    # The last row above its minimum lies on two of four frames: log 2 / log 4.
    assert entropies(Maps.of([GridMap(rows)], axes))[0] == pytest.approx([1.0, 0.0, 0.5])


def test_consistency_is_the_mean_correlation_of_pairs() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 2, 9))
    pairs = [
        np.mean([np.corrcoef(rows[g, i], rows[h, i])[0, 1] for g, h in ((0, 1), (0, 2), (1, 2))])
        for i in range(2)
    ]
    assert consistency(standardise(rows, axis=2)[0]) == pytest.approx(pairs)
    same = np.stack([rows[0], 3 * rows[0] + 1])
    assert consistency(standardise(same, axis=2)[0]) == pytest.approx([1.0, 1.0])


def signs(name: str, construction: str | None, effects: list[float], **others) -> ClipSigns:
    made_up = others.get("made_up")
    return ClipSigns(
        name,
        name,
        construction,
        np.array(effects),
        others.get("halves"),
        {("entropy", "m"): np.array(others.get("entropy", effects))},
        None if made_up is None else np.array(made_up),
        np.array(others.get("in_word", [True] * len(effects))),
    )


def test_both_truths_and_each_construction_apart() -> None:
    clips = [
        signs("a", "speech", [5.0, 4], made_up=[False, False], entropy=[0.1, 0.9]),
        signs("b", "no-speech", [1.0, 2], made_up=[True, True], entropy=[0.5, 0.8]),
        signs(
            "c",
            "foreign",
            [9.0, 9],
            made_up=[True, True],
            entropy=[0.0, 0.05],
            in_word=[True, False],
        ),
    ]
    truth = _Truth.of(clips, 0.3)
    # The two smallest of six effects.
    assert truth.unheard.tolist() == [False, False, True, True, False, False]
    assert truth.shares() == {"foreign": 1.0, "no-speech": 1.0, "speech": 0.0}
    scores = np.concatenate([clip.scores["entropy", "m"] for clip in clips])
    row = truth.judged(("entropy", "m"), scores, 0)
    # Unheard 0.5 and 0.8 against 0.1, 0.9, 0.0, 0.05: 6 of 8 pairs.
    assert row.effect is not None
    assert row.effect.auroc.value == pytest.approx(6 / 8)
    # Made up 0.5, 0.8 and 0.0 (one token of the foreign clip writes no word) against 0.1 and 0.9.
    assert row.construction is not None
    assert row.construction.auroc.value == pytest.approx(2 / 6)
    assert row.of["no-speech"].auroc.value == pytest.approx(2 / 4)
    assert row.of["foreign"].auroc.value == 0.0
    cause = truth.of_effect(0)
    assert cause.effect is None
    assert cause.of["no-speech"].auroc.value == 1.0


def test_effects_are_as_reliable_as_their_halves_agree() -> None:
    def clip(first: list[float], second: list[float]) -> ClipSigns:
        return signs("a", None, first, halves=(np.array(first), np.array(second)))

    # Over both clips r of (1, 2, 3, 4) and (2, 1, 4, 3) is 0.6: 1.2 / 1.6.
    clips = [clip([1.0, 2], [2.0, 1]), clip([3.0, 4], [4.0, 3])]
    assert _reliability(clips) == pytest.approx(0.75)
    assert _reliability([*clips, signs("b", None, [1.0])]) is None
    assert _reliability([clip([1.0, 1], [1.0, 2])]) is None


def test_tokens_of_one_effect_are_refused() -> None:
    with pytest.raises(UsageError, match="all 4 tokens have the same effect"):
        _Truth.of([signs("a", None, [1.0] * 4)], 0.25)


def test_what_is_missing_is_told() -> None:
    told = " ".join(_absent([signs("a", None, [1.0, 2])], {("entropy", "m")}))
    assert "probability" in told
    assert "two single heads" in told
    assert "xbench data listening" in told


@pytest.fixture(scope="module")
def heard(tiny_whisper_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run of the task on clips that are made of noise, in place of speech."""
    folder = tmp_path_factory.mktemp("listening")
    generator = np.random.default_rng(0)
    lines = []
    for name in "abc":
        soundfile.write(folder / f"{name}.wav", generator.normal(0, 0.1, 16_000), 16_000)
        line = {"id": name, "audio": f"{name}.wav", "language": "en", "transcript": "one"}
        lines.append(line)
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    make_listening(folder / "own.jsonl", folder / "clips.jsonl", "en")
    made = Made(folder, f"whisper:{tiny_whisper_folder}")
    spec = RunSpec(
        model=made.model,
        methods=(Call("mean-heads"), Call.parse("raw-attention:layer=0,head=*")),
        tasks=("listening",),
        data=str(folder / "clips.jsonl"),
        masks=24,
        references=(Call("spes-encoder"),),
    )
    evaluate(spec, ExecutionOptions(str(made.results), str(made.cache), "cpu"))
    return made


def test_a_run_of_the_task_has_every_detector_and_both_truths(run: Run, heard: Made) -> None:
    call = ("decisions", "listening", str(heard.results), "--cache", str(heard.cache))
    found = run(*call, "--json")
    assert found.code == 0, found.err
    report = json.loads(found.out)
    names = {row["name"] for row in report["rows"]}
    assert names >= {"entropy", "share", "consistency", "probability", "output-entropy", "effect"}
    assert report["absent"] == []
    assert report["reliability"] < 1
    assert set(report["made_up"]) >= {"speech", "no-speech"}
    # Nothing can be heard in noise, so every word there is made up.
    assert report["made_up"]["no-speech"] == 1.0
    for row in report["rows"]:
        assert (row["effect"] is None) == (row["name"] == "effect")
        for truth in filter(None, (row["effect"], row["construction"])):
            for area in ("auroc", "pr_auc"):
                assert truth[area]["value"] is None or 0 <= truth[area]["value"] <= 1
    shown = run(*call)
    assert "tokens that are made up" in shown.out
    assert run(*call, "--lowest", "1").code == 2


def test_effects_are_row_means_of_the_reference_and_shares_the_attention_on_audio(
    heard: Made,
) -> None:
    stored = one_run(heard.given, heard.store)
    spoken = explained(stored)[0]
    found = clip_signs(stored, spoken)
    (reference,) = references_of(stored, spoken)
    content = list(spoken.decoded.layout.content)
    assert found.effects == pytest.approx(reference.mean.values[content].mean(axis=1))
    share = -found.scores["share", None]
    assert ((share > 0) & (share < 1)).all()
    # Over all tokens, of which none is special but the last one, it is what the result says of padding.
    facts = stored.shelf.artefact(map_key(stored.record.info, spoken, stored.methods[0])).facts
    assert np.mean(facts["audio_share"]) == pytest.approx(1 - facts["padding_mass"])
    assert share == pytest.approx([facts["audio_share"][token] for token in content])
    sure = spoken.decoded.certainty
    assert sure is not None
    assert found.scores["probability", None] == pytest.approx(
        [-sure.log_probability[token] for token in content]
    )


def test_an_older_store_lacks_what_the_output_says(heard: Made) -> None:
    stored = one_run(heard.given, heard.store)
    spoken = explained(stored)[0]
    for certainty in (None, Certainty((None,) * 500, (1.0,) * 500)):
        old = replace(spoken, decoded=replace(spoken.decoded, certainty=certainty))
        assert ("probability", None) not in clip_signs(stored, old).scores


def test_without_constructions_only_the_effect_judges(
    tiny_whisper_folder: Path, tmp_path: Path
) -> None:
    made = made_in(tmp_path, f"whisper:{tiny_whisper_folder}")
    found = listening(load_results(made.results), store=made.store)
    assert found.made_up == {}
    assert all(row.construction is None for row in found.rows)
    assert any("xbench data listening" in reason for reason in found.absent)
