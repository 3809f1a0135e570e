from __future__ import annotations

import io
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from xbench import Call, ExecutionOptions, RunResult, RunSpec, Selection, evaluate, registry
from xbench.claims import examine
from xbench.claims.recomputed import recompute
from xbench.claims.scores import score_problems
from xbench.errors import UnknownName, UsageError, UtteranceError
from xbench.hiding import checks
from xbench.models.families.whisper import WhisperModel
from xbench.references import spes
from xbench.results import Interval, read_result
from xbench.runner import plan as planning
from xbench.runner import stages
from xbench.runner.plan import plan_tasks
from xbench.runner.provenance import without_folders
from xbench.runner.verify import plan_of
from xbench.schemas import problems
from xbench.spec import TaskSpec
from xbench.store import Store
from xbench.trace import SINK_FRAMES

MakeManifest = Callable[..., Path]
CLIPS = {"a": 0.6, "b": 0.8, "c": 0.7}
COLUMNS = [
    (metric, reference)
    for reference in ("spes-encoder", "spes-input")
    for metric in ("pearson", "pearson-paper")
]


@pytest.fixture
def options(tmp_path: Path) -> ExecutionOptions:
    return ExecutionOptions(
        output=str(tmp_path / "results"), cache=str(tmp_path / "cache"), device="cpu"
    )


@pytest.fixture
def spec(tiny_whisper_folder: Path, make_manifest: MakeManifest) -> RunSpec:
    return RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=(Call("mean-heads"),),
        tasks=("asr",),
        data=str(make_manifest(CLIPS)),
        masks=24,
        metrics=(Call("pearson"), Call("pearson-paper")),
    )


def run(spec: RunSpec, options: ExecutionOptions) -> RunResult:
    (result,) = evaluate(spec, options)
    return result


def comparable(result: RunResult) -> dict[str, Any]:
    """Return what must not change when a run is repeated."""
    plain = asdict(result)
    del plain["cost"]["peak_memory_bytes"], plain["provenance"]
    return plain


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


# -- one run --------------------------------------------------------------------------------------


def test_asr_scores_every_utterance_and_writes_what_it_returns(
    spec: RunSpec, options: ExecutionOptions
) -> None:
    result = run(spec, options)
    assert (result.status, result.reason, result.failures) == ("complete", None, [])
    assert result.utterances["id"] == ["a", "b", "c"]
    assert [(s.metric, s.reference) for s in result.scores] == COLUMNS
    for score in result.scores:
        values = result.utterances[f"{score.metric}@{score.reference}"]
        assert score.n == 3
        assert score.value == pytest.approx(math.fsum(values) / 3)
        assert -1 <= score.value <= 1
        floors = result.utterances[f"floor:{score.metric}@{score.reference}"]
        assert score.floor.value == pytest.approx(math.fsum(floors) / 3)
        assert score.clusters_assumed
        assert (score.ci, score.ci_reason is None) == (None, False)  # three clusters are too few
    assert [(r.name, r.masks) for r in result.references] == [
        ("spes-encoder", [12, 12]),
        ("spes-input", [12, 12]),
    ]
    # Clean, the twin's clean, and the masks; on fast hardware also the check of bfloat16.
    for reference in result.references:
        unchecked = reference.computation["precision_reason"] == {"slow-here": 3}
        # Of each utterance 26, and the trial of a precision: a clean pass and both ways, on few masks or more.
        trials = [0] if unchecked else [1 + 2 * n for n in (checks.MASKS, checks.MORE_MASKS)]
        possible = {sum(one) for one in combinations_with_replacement(trials, 3)}
        assert reference.forward_passes - 3 * 26 in possible
        assert sum(reference.computation["precision"].values()) == 3
    assert (result.cost.forward_passes, result.cost.backward_passes) == (3, 0)
    assert result.quality.metric == "wer"
    assert result.quality.n == 3
    assert 0 < result.padding_mass < 1  # type: ignore[operator]
    assert result.sinks is not None
    assert (result.sinks.frames, len(result.sinks.heads)) == (SINK_FRAMES, 2)
    assert 0 < result.sinks.mean < 1

    path = Path(options.output) / result.path()
    assert read_result(path) == result
    assert problems("result", json.loads(path.read_text())) == []
    assert [p for p in Path(options.output).rglob("*") if p.is_file()] == [path]
    assert path.parent == Path(options.output) / "asr" / "whisper-whisper-tiny-random"


def test_translation_judges_the_translation(
    spec: RunSpec, options: ExecutionOptions, make_manifest: MakeManifest
) -> None:
    fields = {
        "a": {"language": "it", "translation_en": "one"},
        "b": {"language": "zh", "translation_en": "two"},
        "c": {"language": "it"},  # has no translation and is left out
    }
    spec = replace(spec, tasks=("st",), data=str(make_manifest(CLIPS, fields)))
    result = run(spec, options)
    assert result.quality.value is not None
    assert result.quality.value < 50

    for name, text in zip("ab", result.utterances["hypothesis"], strict=True):
        fields[name]["translation_en"] = text
    make_manifest(CLIPS, fields)
    result = run(spec, options)
    assert result.quality.value == pytest.approx(100)
    assert result.status == "complete"
    assert (result.task.kind, result.task.target_language) == ("st", "en")
    assert result.task.source_language == ["it", "zh"]
    assert result.utterances["id"] == ["a", "b"]
    assert (result.quality.metric, result.utterances["chrf"]) == ("chrf", pytest.approx([100, 100]))
    assert read_result(Path(options.output) / result.path()) == result


def flac(samples: np.ndarray, stated: int | None = None) -> bytes:
    """Return a FLAC file; `stated` is the number of samples that its header claims (0: streamed)."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format="FLAC")
    data = bytearray(buffer.getvalue())
    if stated is not None:  # the lowest 36 bits of bytes 18 to 25
        head = int.from_bytes(data[18:26], "big") >> 36 << 36 | stated
        data[18:26] = head.to_bytes(8, "big")
    return bytes(data)


def test_files_with_headers_of_no_recording_fail_alone_and_streamed_ones_are_scored(
    spec: RunSpec,
    options: ExecutionOptions,
    make_manifest: MakeManifest,
    clip: Callable[..., np.ndarray],
) -> None:
    slow, samples = io.BytesIO(), clip(0.6, 0)
    soundfile.write(slow, samples, 1, format="WAV")
    clips = {
        "whole": flac(samples),
        "streamed": flac(samples, 0),
        "claims": flac(samples, (1 << 36) - 1),
        "slow": slow.getvalue(),
    }
    result = run(replace(spec, data=str(make_manifest(clips))), options)
    assert result.utterances["id"] == ["whole", "streamed"]
    first, second = result.utterances["pearson@spes-encoder"]
    assert result.utterances["hypothesis"][0] == result.utterances["hypothesis"][1]
    assert (first is None) == (second is None)
    assert {f.id: f.reason for f in result.failures} == dict.fromkeys(
        ("claims", "slow"), "corrupt-audio"
    )


def test_a_task_and_its_translation_share_a_cache_without_mixing(
    spec: RunSpec, options: ExecutionOptions, make_manifest: MakeManifest
) -> None:
    fields = {"a": {"language": "it", "translation_en": "one"}}
    spec = replace(spec, tasks=("asr", "st"), data=str(make_manifest({"a": 0.6}, fields)))
    evaluate(spec, options)
    assert Store(Path(options.cache or "")).summary()["hypothesis"]["artefacts"] == 2


# -- what is stored is not computed again ---------------------------------------------------------


def refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("this was to come from the cache")


def no_model_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("features", "encode", "logits", "decode", "trace"):
        monkeypatch.setattr(WhisperModel, name, refuse)


def test_a_second_run_does_no_model_work(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(spec, options)
    no_model_work(monkeypatch)
    assert comparable(run(spec, options)) == comparable(first)


def test_a_second_method_needs_one_trace_and_no_reference(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(spec, options)
    traces = []
    trace = WhisperModel.trace

    def counted(self: WhisperModel, *arguments: Any) -> Any:
        traces.append(1)
        return trace(self, *arguments)

    monkeypatch.setattr(WhisperModel, "trace", counted)
    monkeypatch.setattr(WhisperModel, "decode", refuse)
    monkeypatch.setattr(spes, "estimate", refuse)
    evaluate(replace(spec, methods=(Call("mean-layers", (("head", 1),)), Call("uniform"))), options)
    assert len(traces) == 3


@pytest.mark.parametrize("change", [{"seed": 1}, {"masks": 30}])
def test_other_masks_are_another_reference(
    spec: RunSpec, options: ExecutionOptions, change: dict[str, int]
) -> None:
    first, second = run(spec, options), run(replace(spec, **change), options)  # type: ignore[arg-type]
    column = "pearson@spes-encoder"
    assert first.utterances[column] != second.utterances[column]
    assert first.utterances["map_hash"] == second.utterances["map_hash"]
    assert first.path() != second.path()
    summary = Store(Path(options.cache or "")).summary()
    assert {kind: row["artefacts"] for kind, row in summary.items()} == {
        "hypothesis": 3,
        "reference": 12,
        "map": 6,
        "fit": 0,
        "gate": 0,
        "intervention": 0,
        "run": 2,
        "block": 0,
        "model": 1,
    }


def test_two_checkpoints_of_one_name_never_mix(
    spec: RunSpec,
    options: ExecutionOptions,
    another_tiny_whisper: Callable[..., Path],
    tmp_path: Path,
) -> None:
    first = run(spec, options)
    other = another_tiny_whisper(tmp_path / "other" / "whisper-tiny-random", seed=5)
    second = run(replace(spec, model=f"whisper:{other}"), options)
    assert first.model.name == second.model.name
    assert first.model.revision != second.model.revision
    assert set(first.utterances["map_hash"]).isdisjoint(second.utterances["map_hash"])
    assert first.path() != second.path()
    fresh = run(
        replace(spec, model=f"whisper:{other}"), replace(options, cache=str(tmp_path / "x"))
    )
    assert fresh.utterances == second.utterances


def test_the_place_of_the_checkpoint_and_the_data_does_not_matter(
    spec: RunSpec,
    options: ExecutionOptions,
    tiny_whisper_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = run(spec, options)
    model = shutil.copytree(tiny_whisper_folder, tmp_path / "moved" / tiny_whisper_folder.name)
    data = tmp_path / "moved" / "data"
    data.mkdir()
    for path in (Path(spec.data or ""), *tmp_path.glob("*.wav")):
        shutil.copy(path, data)
    no_model_work(monkeypatch)
    moved = replace(spec, model=f"whisper:{model}", data=str(data / "clips.jsonl"))
    assert run(moved, options).path() == first.path()


def test_an_interrupted_run_goes_on_where_it_stopped(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def counting(name: str, interrupt: bool) -> Callable[..., Any]:
        original = getattr(spes, name)

        def estimate(case: Any, *arguments: Any, **options: Any) -> Any:
            if interrupt:
                raise KeyboardInterrupt
            done.append(name)
            return original(case, *arguments, **options)

        return estimate

    with monkeypatch.context() as patch:
        patch.setattr(spes, "spes_encoder", counting("spes_encoder", False))
        patch.setattr(spes, "spes_input", counting("spes_input", True))
        with pytest.raises(KeyboardInterrupt):
            run(spec, options)
    assert done == ["spes_encoder"]
    store = Store(Path(options.cache or ""))
    assert store.summary()["reference"]["artefacts"] == 1
    assert store.verify() == []

    done.clear()
    with monkeypatch.context() as patch:
        for name in ("spes_encoder", "spes_input"):
            patch.setattr(spes, name, counting(name, False))
        patch.setattr(WhisperModel, "decode", refuse)
        result = run(spec, options)
    assert sorted(done) == ["spes_encoder"] * 2 + ["spes_input"] * 3
    untouched = run(spec, replace(options, cache=str(Path(options.output) / "fresh")))
    assert comparable(result)["scores"] == comparable(untouched)["scores"]


def test_maps_that_are_finished_survive_an_interruption_in_the_next_method(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = stages.compute_map

    def interrupted(description: Any, *given: Any) -> Any:
        if description.name == "max-heads":
            raise KeyboardInterrupt
        return plain(description, *given)

    monkeypatch.setattr(stages, "UNSTORED_SECONDS", 0.0)
    monkeypatch.setattr(stages, "compute_map", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(replace(spec, methods=("mean-heads", "min-heads", "max-heads")), options)
    assert Store(Path(options.cache or "")).summary()["map"]["artefacts"] == 2


def test_a_reference_damaged_in_the_cache_is_made_again(
    spec: RunSpec, options: ExecutionOptions
) -> None:
    first = run(spec, options)
    for path in (Path(options.cache or "") / "reference").rglob("*.npz"):
        path.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="it is made again"):
        second = run(spec, options)
    assert second.utterances == first.utterances


# -- utterances that fail -------------------------------------------------------------------------


def wav_header_only() -> bytes:
    return b"RIFF\x24\x00\x00\x00WAVEfmt garbage"


def test_bad_audio_is_counted_and_the_others_are_kept(
    spec: RunSpec, options: ExecutionOptions, make_manifest: MakeManifest, tmp_path: Path
) -> None:
    clips = {
        "good-1": 0.6,
        "long": 2.5,
        "broken": wav_header_only(),
        "empty": np.zeros(0, dtype=np.float32),
        "nan": np.array([0.0, np.nan] * 4000, dtype=np.float32),
        "silent": np.zeros(8000, dtype=np.float32),
        "inverted": 0.2 * np.sin(np.arange(8000))[:, None] * [1.0, -1.0],
        "foreign": 0.6,
        "good-2": 0.8,
    }
    fields = {"foreign": {"language": "de"}}
    result = run(replace(spec, data=str(make_manifest(clips, fields))), options)
    assert result.status == "partial"
    assert result.reason == "7 utterance(s) failed or were refused"
    assert {f.id: f.reason for f in result.failures} == {
        "long": "too-long",
        "broken": "corrupt-audio",
        "empty": "empty-audio",
        "nan": "non-finite-audio",
        "silent": "silent-audio",
        "inverted": "cancelling-channels",
        "foreign": "unsupported-language",
    }
    assert all(str(tmp_path) not in f.message for f in result.failures)
    assert result.utterances["id"] == ["good-1", "good-2"]
    assert all(score.n == 2 for score in result.scores)
    assert read_result(Path(options.output) / result.path()) == result


NAMES_OF_NOTHING = {"gone": "gone.wav", "nul": "a\0b", "long": "n" * 300, "folder": "."}


def with_unreadable(manifest: Path) -> None:
    """Add a line for each kind of name under which no file can be read."""
    with manifest.open("a", encoding="utf-8") as file:
        for id_, audio in NAMES_OF_NOTHING.items():
            line = {"id": id_, "audio": audio, "language": "en", "transcript": "Hello."}
            file.write(json.dumps(line) + "\n")


def test_a_clip_whose_file_cannot_be_read_fails_alone(
    spec: RunSpec, options: ExecutionOptions, make_manifest: MakeManifest, tmp_path: Path
) -> None:
    manifest = make_manifest({"good": 0.6})
    with_unreadable(manifest)
    result = run(replace(spec, data=str(manifest)), options)
    assert result.utterances["id"] == ["good"]
    assert {f.id: f.reason for f in result.failures} == dict.fromkeys(
        NAMES_OF_NOTHING, "missing-audio"
    )
    told = {f.id: f.message for f in result.failures}
    assert all(str(tmp_path) not in message for message in told.values())
    assert told["gone"] == "gone.wav: cannot be read: No such file or directory"
    assert told["long"].endswith("cannot be read: File name too long")
    assert "this is no file name" in told["nul"]


def test_a_manifest_without_a_readable_clip_is_refused_before_the_run(
    spec: RunSpec, options: ExecutionOptions, tmp_path: Path
) -> None:
    manifest = tmp_path / "gone.jsonl"
    with_unreadable(manifest)
    with pytest.raises(UsageError) as refusal:
        run(replace(spec, data=str(manifest)), options)
    assert str(refusal.value).count("audio of '") == len(NAMES_OF_NOTHING)


def test_a_clip_that_appears_during_the_run_is_stored_under_no_wrong_key(
    spec: RunSpec,
    options: ExecutionOptions,
    make_manifest: MakeManifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a network folder that comes back: what the clip is was not known when the keys were made."""
    manifest = make_manifest({"good": 0.6, "late": 0.7})
    late = manifest.parent / json.loads(manifest.read_text().splitlines()[1])["audio"]
    original = planning.readable_sha256
    monkeypatch.setattr(
        planning, "readable_sha256", lambda path: "" if path == late else original(path)
    )
    result = run(replace(spec, data=str(manifest)), options)
    ((failed, reason, message),) = [(f.id, f.reason, f.message) for f in result.failures]
    assert (failed, reason) == ("late", "missing-audio")
    assert message.endswith("could not be read when the run began; run again")


def test_a_run_without_any_good_utterance_is_failed_but_valid(
    spec: RunSpec, options: ExecutionOptions, make_manifest: MakeManifest
) -> None:
    result = run(replace(spec, data=str(make_manifest({"long": 3.0}))), options)
    assert (result.status, result.reason) == ("failed", "all 1 utterances failed")
    assert all(s.value is None and s.reason and s.n == 0 for s in result.scores)
    assert result.quality.value is None
    assert result.quality.reason
    assert read_result(Path(options.output) / result.path()) == result


def test_an_utterance_that_fails_in_its_reference_is_counted(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = spes.spes_input

    def estimate(case: Any, *arguments: Any, **parameters: Any) -> Any:
        if case.features.melframes == 80:
            raise UtteranceError("non-finite-divergence", "planned")
        return original(case, *arguments, **parameters)

    monkeypatch.setattr(spes, "spes_input", estimate)
    result = run(spec, options)
    assert [(f.id, f.reason) for f in result.failures] == [("b", "non-finite-divergence")]
    assert result.utterances["id"] == ["a", "c"]
    assert result.status == "partial"


@pytest.mark.parametrize(
    ("text", "reason"), [("", "empty-hypothesis"), (5 * "He ", "looping-hypothesis")]
)
def test_a_hypothesis_that_explains_nothing_is_counted_null(
    text: str,
    reason: str,
    spec: RunSpec,
    options: ExecutionOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode = WhisperModel.decode

    def silent(self: WhisperModel, features: Any, *arguments: Any) -> Any:
        found = decode(self, features, *arguments)
        if features.melframes != 60:
            return found
        if text:
            return replace(found, text=text)
        return replace(found, tokens=found.tokens[-1:], texts=found.texts[-1:], content=(), text="")

    monkeypatch.setattr(WhisperModel, "decode", silent)
    result = run(spec, options)
    assert result.status == "complete"
    assert result.utterances["hypothesis"][0] == text
    for score in result.scores:
        assert (score.n, score.undefined) == (2, {reason: 1})
        assert result.utterances[f"{score.metric}@{score.reference}"][0] is None
    assert result.utterances["map_hash"][0] is None
    assert result.utterances["reliability@spes-encoder"][0] is None
    assert examine(result).problems == ()


# -- methods --------------------------------------------------------------------------------------


def raw(layer: Any, head: Any) -> Call:
    return Call.make("raw-attention", {"layer": layer, "head": head})


def test_an_unsupported_method_does_not_stop_the_others(
    spec: RunSpec, options: ExecutionOptions
) -> None:
    good, bad = evaluate(replace(spec, methods=(Call("mean-heads"), raw(7, 0))), options)
    assert good.status == "complete"
    assert bad.status == "unsupported"
    assert "layer 7 does not exist" in (bad.reason or "")
    assert all(s.value is None and s.n == 0 for s in bad.scores)
    for result in (good, bad):
        assert read_result(Path(options.output) / result.path()) == result


def test_a_sweep_is_every_layer_and_head_and_equals_single_runs(
    spec: RunSpec, options: ExecutionOptions, tmp_path: Path
) -> None:
    results = evaluate(replace(spec, methods=(raw("*", "*"), raw(1, 1))), options)
    found = [(r.method.params["layer"], r.method.params["head"]) for r in results]
    assert found == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len({r.path() for r in results}) == 4
    assert len({tuple(r.utterances["map_hash"]) for r in results}) == 4
    single = run(
        replace(spec, methods=(raw(1, 0),)), replace(options, cache=str(tmp_path / "fresh"))
    )
    (swept,) = (r for r in results if r.method.params == {"layer": 1, "head": 0})
    assert swept.utterances == single.utterances
    assert [s.value for s in swept.scores] == [s.value for s in single.scores]
    assert swept.path() == single.path()


def test_uniform_is_null_with_its_reason(spec: RunSpec, options: ExecutionOptions) -> None:
    result = run(replace(spec, methods=(Call("uniform"),)), options)
    assert {(s.value, s.reason) for s in result.scores} == {(None, "constant-map")}
    assert (result.cost.forward_passes, result.status) == (0, "complete")


def test_the_floor_scores_like_the_method_it_is(spec: RunSpec, options: ExecutionOptions) -> None:
    result = run(replace(spec, methods=(Call("diagonal"),)), options)
    for score in result.scores:
        assert score.value == score.floor.value
        assert score.skill.value in (None, pytest.approx(0))


def test_references_and_metrics_can_be_chosen(spec: RunSpec, options: ExecutionOptions) -> None:
    chosen = replace(spec, references=(Call("spes-encoder"),), metrics=(Call("pearson-paper"),))
    result = run(chosen, options)
    assert [(s.metric, s.reference) for s in result.scores] == [("pearson-paper", "spes-encoder")]
    assert result.task.headline == {"metric": "pearson-paper", "reference": "spes-encoder"}
    assert result.references[0].params == {
        "masks": 24,
        "p": 0.7,
        "estimator": "window-control-variate",
        "design": "independent",
        "until": 0.9,
        "precision": "auto",
    }


def test_metrics_replace_those_of_the_task_or_join_them(spec: RunSpec) -> None:
    def planned(*texts: str) -> TaskSpec:
        metrics = tuple(Call.parse(text) for text in texts)
        return plan_tasks(replace(spec, metrics=metrics))[0].task

    own = planned()
    assert [m.name for m in own.metrics][:2] == ["pearson", "pearson-paper"]
    assert {"deletion-auc", "insertion-auc", "sensitivity-n"} <= {m.name for m in own.metrics}
    assert set(planned("+cosine").metrics) == {*own.metrics, Call("cosine")}
    assert planned("+pearson") == own
    assert planned("cosine", "+spearman").metrics == (Call("cosine"), Call("spearman"))
    assert planned("sensitivity-n", "cosine").metrics == planned("cosine", "sensitivity-n").metrics
    # A task is ranked by a metric that takes a reference, where it has one.
    assert planned("deletion-auc", "cosine").headline.metric == "cosine"


def test_no_name_is_taken_twice(spec: RunSpec) -> None:
    twice = (Call.parse("topk-overlap:share=0.1"), Call.parse("topk-overlap:share=0.2"))
    with pytest.raises(
        UsageError, match="metric 'topk-overlap' is asked for twice, 'topk-overlap:share="
    ):
        plan_tasks(replace(spec, metrics=twice))
    references = (Call("spes-encoder"), Call.parse("spes-encoder:p=0.5"))
    with pytest.raises(UsageError, match="reference 'spes-encoder' is asked for twice"):
        plan_tasks(replace(spec, references=references))


def test_tokens_left_out_are_added_up(spec: RunSpec, options: ExecutionOptions) -> None:
    chosen = replace(
        spec,
        methods=(Call("uniform"), Call("mean-heads")),
        references=(Call("spes-encoder"),),
        metrics=(Call("spearman"), Call.parse("topk-overlap:share=0.5")),
    )
    flat, other = evaluate(chosen, options)
    tokens = sum(flat.utterances["tokens"])
    assert tokens > 0
    assert flat.score("spearman").tokens_left_out == {"constant-map": tokens}
    assert other.score("spearman").tokens_left_out == {}
    assert other.score("topk-overlap").metric_params == {"share": 0.5}
    # `verify` asks for the same again.
    asked = plan_of(other, model=spec.model, data=spec.data).spec.metrics
    assert asked == (Call("spearman"), Call("topk-overlap", (("share", 0.5),)))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"methods": ()}, UsageError, "no method is given"),
        ({"methods": (Call("mean-head"),)}, UnknownName, "'mean-heads'"),
        ({"methods": (Call("mean-heads", (("layer", 1),)),)}, UsageError, "'layers'"),
        ({"methods": (Call("raw-attention"),)}, UsageError, "'layer' is required"),
        ({"tasks": ("arr",)}, UnknownName, "'asr'"),
        ({"data": "nowhere.jsonl"}, UsageError, "nowhere.jsonl cannot be read"),
        ({"data": None}, UsageError, "needs --data"),
        ({"model": "whisper-tny"}, UnknownName, "whisper-tiny"),
        ({"masks": 2}, UsageError, "masks=2"),
        ({"references": (Call("spes-in"),)}, UnknownName, "'spes-input'"),
        ({"metrics": (Call("person"),)}, UnknownName, "'pearson'"),
        ({"selection": Selection(ids=("d",))}, UsageError, "has no utterance 'd'"),
    ],
)
def test_bad_usage_is_told_before_a_model_is_loaded(
    spec: RunSpec,
    options: ExecutionOptions,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    error: type[UsageError],
    message: str,
) -> None:
    monkeypatch.setattr("xbench.runner.bench.load_located", None)
    with pytest.raises(error, match=message):
        evaluate(replace(spec, **change), options)


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "selection", [Selection(limit=2), Selection(ids=("c",)), Selection(limit=3)]
)
def test_a_partial_run_never_overwrites_a_full_one(
    spec: RunSpec, options: ExecutionOptions, selection: Selection
) -> None:
    full = run(spec, options)
    part = run(replace(spec, selection=selection), options)
    assert part.status == "partial"
    assert "selection" in (part.reason or "")
    assert part.path() != full.path()
    assert part.path().parent == full.path().parent
    assert read_result(Path(options.output) / full.path()) == full
    assert re.fullmatch(r"mean-heads-heads-all-layers-all-[0-9a-f]{8}\.json", full.path().name)


def test_results_name_no_folder_of_this_machine(
    spec: RunSpec,
    options: ExecutionOptions,
    make_manifest: MakeManifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = replace(spec, data=str(make_manifest({"a": 0.6, "long": 2.5, "bad": b"x" * 50})))
    arguments = [
        f"--data={spec.data}",
        spec.model,
        f"{tmp_path}/results/",
        f"{tmp_path}/my files/x",
    ]
    monkeypatch.setattr("sys.argv", ["/usr/bin/xbench", "eval", "--data", spec.data, *arguments])
    result = run(spec, options)
    text = (Path(options.output) / result.path()).read_text()
    found = list(strings(json.loads(text)))
    assert str(tmp_path) not in text
    assert str(Path.home()) not in [s for s in found if s != "/"]
    absolute = [s for s in found if re.search(r"(^|[\s:='\"(])(/|~/)\w", s)]
    assert absolute == []
    assert result.provenance.command[:4] == ["xbench", "eval", "--data", "clips.jsonl"]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("/home/me/clips.jsonl", "clips.jsonl"),
        ("--data=/home/me/clips.jsonl", "--data=clips.jsonl"),
        ("whisper:/models/tiny", "whisper:tiny"),
        ("whisper:~/models/tiny", "whisper:tiny"),
        ("/home/me/results/", "results"),
        ("/home/me/my files/clips.jsonl", "clips.jsonl"),
        ("whisper:../shared/models/tiny", "whisper:../shared/models/tiny"),
        ("openai/whisper-tiny", "openai/whisper-tiny"),
        ("raw-attention:layer=*,head=*", "raw-attention:layer=*,head=*"),
        ("--ids", "--ids"),
        ("", ""),
        ("/", ""),
        (r"--data=C:\Users\me\clips.jsonl", "--data=clips.jsonl"),
    ],
)
def test_arguments_lose_absolute_folders(argument: str, expected: str) -> None:
    assert without_folders(argument) == expected


def test_results_hold_neither_nan_nor_infinity(
    spec: RunSpec, options: ExecutionOptions, make_manifest: MakeManifest
) -> None:
    silence = {"silence": np.zeros(8000, dtype=np.float32), "a": 0.6}
    methods = (Call("mean-heads"), Call("uniform"), raw(0, 0))
    for result in evaluate(
        replace(spec, methods=methods, data=str(make_manifest(silence))), options
    ):
        text = (Path(options.output) / result.path()).read_text()
        json.loads(text, parse_constant=pytest.fail)


# -- keys -----------------------------------------------------------------------------------------


def test_the_precision_of_a_run_is_that_of_its_references(spec: RunSpec) -> None:
    (plan,) = plan_tasks(replace(spec, precision="float32"))
    assert all(call.given["precision"] == "float32" for call in plan.task.references)
    (plan,) = plan_tasks(spec)
    assert all(call.given["precision"] == "auto" for call in plan.task.references)


def test_the_paper_preset_takes_no_frozen_padding(spec: RunSpec) -> None:
    frozen = (Call.parse("spes-input:padding=frozen"),)
    with pytest.raises(UsageError, match="padding=frozen"):
        plan_tasks(replace(spec, references=frozen, preset="paper"))
    plan_tasks(replace(spec, references=frozen))


# -- references that follow a target --------------------------------------------------------------


def test_a_target_that_is_missed_is_flagged(
    spec: RunSpec, options: ExecutionOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    from xbench.cli.result_tables import show_results

    result = run(spec, options)
    for reference in result.references:
        rows = result.utterances[f"row_reliability@{reference.name}"]
        assert [len(row) for row in rows] == result.utterances["tokens"]
        assert result.utterances[f"masks@{reference.name}"] == [24, 24, 24]
        assert (reference.converged, reference.converged_share) == (False, 0.0)
        assert reference.masks_per_utterance is not None
        assert asdict(reference.masks_per_utterance) == {"min": 24, "median": 24.0, "max": 24}
        flat = [value for row in rows for value in row]
        assert reference.unreliable_rows is not None
        assert asdict(reference.unreliable_rows) == {
            "bound": 0.5,
            "below": sum(value < 0.5 for value in flat if value is not None),
            "undefined": flat.count(None),
            "n": len(flat),
        }
        effects = result.utterances[f"effect@{reference.name}"]
        assert [len(row) for row in effects] == result.utterances["tokens"]
        assert reference.audio_tokens is not None
        assert asdict(reference.audio_tokens) == {
            "bound": 0.05,
            "depend": sum(value >= 0.05 * max(row) for row in effects for value in row),
            "n": len(flat),
        }
    for score in result.scores:
        assert score.metric_version == registry.metrics.get(score.metric).version
        if score.metric == "pearson":
            own = result.utterances[f"weighted:pearson@{score.reference}"]
            assert score.weighted is not None
            assert score.weighted.value == pytest.approx(np.mean(own))
            assert score.weighted.value != score.value
            assert score.weighted_floor is not None
            assert score.weighted_ceiling is not None
            assert score.weighted_skill is not None
            assert score.weighted_disattenuated is not None
            floor, ceiling = score.weighted_floor.value, score.weighted_ceiling.value
            assert floor is not None
            assert ceiling is not None
            # Null where floor and ceiling lie too close, as of the plain score; `score_problems` recomputes it.
            if score.weighted_skill.value is not None:
                above = score.weighted.value - floor
                assert score.weighted_skill.value == pytest.approx(above / (ceiling - floor))
            assert floor != score.floor.value
            # Of 24 masks no row may be reliable, which differs from run to run.
            if ceiling > 0:
                disattenuated = score.weighted.value / ceiling
                assert score.weighted_disattenuated.value == pytest.approx(disattenuated)
                assert ceiling != score.ceiling.value
            else:
                assert score.weighted_disattenuated.reason == "ceiling-not-positive"
        if score.metric == "pearson-paper":
            assert score.weighted is not None
            assert score.weighted.value is None
            assert score.weighted_ceiling is not None
            assert score.weighted_ceiling.reason == "no-token-values"
    assert score_problems(result, *recompute([result])) == []
    better = Interval(0.9, None, None, "fewer-than-5-clusters")
    for part in ("floor", "ceiling", "skill", "disattenuated"):
        first = next(score for score in result.scores if score.metric == "pearson")
        claimed = replace(first, **{f"weighted_{part}": better})
        told = score_problems(replace(result, scores=[claimed]), *recompute([result]))
        assert any(line.startswith(f"scores[0].weighted_{part}.value: 0.9") for line in told)
    show_results([result], Path(options.output))
    assert "WARNING: 100% of utterances below the 0.9 asked for" in capsys.readouterr().out


def test_masks_follow_the_utterance_and_are_counted(
    spec: RunSpec, options: ExecutionOptions
) -> None:
    call = Call.parse("spes-encoder:until=0.9,masks=4000,precision=float32")
    (reference,) = (
        result := run(replace(spec, masks=None, references=(call,)), options)
    ).references
    masks = result.utterances["masks@spes-encoder"]
    reliability = result.utterances["reliability@spes-encoder"]
    assert all(n % 500 == 0 and n >= 1000 for n in masks)
    assert [n < 4000 or r >= 0.9 for n, r in zip(masks, reliability, strict=True)] == [True] * 3
    assert reference.converged == all(r >= 0.9 for r in reliability)
    assert sum(reference.masks) == max(masks)
    assert reference.forward_passes == sum(masks) + 2 * 3  # clean: its logits, and its states
    assert reference.estimator == "window-control-variate"


def test_without_a_target_nothing_is_said_about_reaching_one(
    spec: RunSpec, options: ExecutionOptions
) -> None:
    result = run(replace(spec, preset="paper"), options)
    assert {(r.converged, r.converged_share, r.estimator) for r in result.references} == {
        (None, None, "masked-mean")
    }
