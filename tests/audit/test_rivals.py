"""References judged by each other: what is compared, corrected for which noise, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from command_line import Run
from small_run import Made
from xbench import registry
from xbench.audit.rivals import Rivalry, label, rivalries
from xbench.claims.references import reference_problems
from xbench.errors import UsageError
from xbench.maps import GridMap, Layout, on_encoder_grid
from xbench.metrics.agreement import pearson
from xbench.references.reliability import ceiling_pearson
from xbench.results import load_results
from xbench.runner.compare import on_grid, read_reference
from xbench.runner.keys import reference_key
from xbench.runner.rescore import Change, stored_run
from xbench.spec import Call, Scoring


def by_pair(rows: list[Rivalry]) -> dict[tuple[str, str], Rivalry]:
    return {(row.judge, row.rival): row for row in rows}


def stored_maps(made: Made) -> list[tuple[Layout, Scoring, dict[str, tuple[GridMap, float]]]]:
    """Per utterance the map and the ceiling of `pearson` of every reference, straight from the store."""
    stored = stored_run(made.given, made.store, Change())
    found = []
    for spoken in stored.spoken.values():
        layout, scoring = spoken.decoded.layout, spoken.job.task.scoring
        maps = {}
        for call in spoken.job.task.references:
            key = reference_key(stored.record.info, spoken, call)
            reference = read_reference(call, stored.shelf.artefact(key))
            halves = on_grid(reference.halves(), layout, scoring)
            assert halves is not None
            mean = on_encoder_grid(reference.mean(), layout, scoring)
            root = ceiling_pearson(mean, *halves, layout, scoring).upper
            assert root is not None
            maps[call.name] = (mean, root)
        found.append((layout, scoring, maps))
    return found


def test_a_rival_scores_as_a_method_would_and_is_freed_of_its_own_noise(made: Made) -> None:
    rows = by_pair(rivalries(made.given, store=made.store))
    first, second = "spes-encoder:p=0.7", next(name for name, _ in rows if "input" in name)
    assert set(rows) == {(first, second), (second, first)}
    scores, noise, own = [], [], []
    for layout, scoring, maps in stored_maps(made):
        (judge, judged), (rival, sure) = maps["spes-encoder"], maps["spes-input"]
        scores.append(pearson(rival, judge, layout, scoring).value)
        noise.append(sure)
        own.append(judged)
    row = rows[first, second]
    assert row.score.value == pytest.approx(np.mean(scores))
    assert row.ceiling is not None
    assert row.ceiling.value == pytest.approx(np.mean(scores) / np.mean(noise))
    assert row.sampling is not None
    assert row.sampling.value == pytest.approx(np.mean(own))
    # Correlation is symmetric; the noise that is taken away is not.
    assert rows[second, first].score.value == pytest.approx(row.score.value)
    assert rows[second, first].ceiling != row.ceiling


def test_a_result_states_the_rivals_of_its_references_itself(
    run: Run, made: Made, tmp_path: Path
) -> None:
    made.evaluate(tmp_path, "spes-encoder", "spes-encoder-drop", "spes-input")
    shown = run("score", tmp_path, "--cache", made.cache, "--output", tmp_path / "again")
    assert shown.out.count("second ceiling of pearson") == 2
    results = load_results(tmp_path)
    rows = by_pair(rivalries(results, store=made.store))
    for result in results:
        told = {r.name: {one.reference: one for one in r.rivals} for r in result.references}
        # Frames of the encoder and cells of the spectrogram are not rivals: they hide other things.
        assert {name: set(rivals) for name, rivals in told.items()} == {
            "spes-encoder": {"spes-encoder-drop"},
            "spes-encoder-drop": {"spes-encoder"},
            "spes-input": set(),
        }
        stated = told["spes-encoder"]["spes-encoder-drop"]
        row = rows["spes-encoder:p=0.7", "spes-encoder-drop:p=0.7"]
        assert (stated.score.value, stated.score.ci) == (
            row.score.value,
            [row.score.low, row.score.high],
        )
        assert row.ceiling is not None
        assert stated.ceiling.value == row.ceiling.value


def test_a_second_ceiling_is_recomputed_from_its_columns(made: Made, tmp_path: Path) -> None:
    made.evaluate(tmp_path, "spes-encoder", "spes-encoder-drop")
    result = load_results(tmp_path)[0]
    assert reference_problems(result) == []
    (first, second), (rival,) = result.references, result.references[0].rivals
    assert rival.ceiling.value is not None
    for place, wrong in (
        ("ceiling.value", replace(rival, ceiling=replace(rival.ceiling, value=0.9))),
        ("score.value", replace(rival, score=replace(rival.score, value=0.9))),
        ("is no other reference", replace(rival, reference="spes-encoder")),
    ):
        changed = replace(result, references=[replace(first, rivals=[wrong]), second])
        (told,) = reference_problems(changed)
        assert place in told


def test_references_of_several_runs_meet_on_the_same_clips(made: Made, tmp_path: Path) -> None:
    made.evaluate(tmp_path / "half", "spes-encoder:p=0.5", "spes-encoder-drop")
    both = [*made.given, *load_results(tmp_path / "half")]
    names = {row.judge for row in rivalries(both, store=made.store)}
    assert len(names) == 4
    assert {"spes-encoder:p=0.7", "spes-encoder:p=0.5", "spes-encoder-drop:p=0.7"} < names


def test_other_metrics_have_scores_and_no_theory_of_noise(run: Run, made: Made) -> None:
    arguments = ("audit", "references", made.results, "--cache", made.cache)
    told = json.loads(run(*arguments, "--metric", "spearman", "--json").out)
    assert len(told) == 2
    assert all(row["ceiling"] is None and row["sampling"] is None for row in told)
    assert -1 <= told[0]["score"]["value"] <= 1
    done = run(*arguments)
    assert done.code == 0
    assert "second ceiling" in done.out


def test_masks_and_estimators_do_not_make_another_reference() -> None:
    call = Call.parse("spes-encoder:p=0.7,masks=200,estimator=control-variate,until=0.9")
    assert label(call) == "spes-encoder:p=0.7"
    pixels = registry.references.resolve(Call.parse("spes-input:masks=200"))[1]
    assert "rates" in pixels.given
    assert label(pixels) == "spes-input:p=0.5"
    coarse = registry.references.resolve(Call.parse("spes-input:compactness=0.2,masks=200"))[1]
    assert label(coarse) == "spes-input:compactness=0.2,p=0.5"


def test_what_cannot_be_compared_is_refused(
    made: Made, tmp_path: Path, another_tiny_whisper: Callable[..., Path]
) -> None:
    made.evaluate(tmp_path / "one", "spes-encoder")
    with pytest.raises(UsageError, match="one reference"):
        rivalries(load_results(tmp_path / "one"), store=made.store)
    with pytest.raises(UsageError, match="compares with no reference"):
        rivalries(made.given, metrics=["deletion-auc"], store=made.store)
    with pytest.raises(UsageError, match="none of the results has scores"):
        rivalries([], store=made.store)
    other = Made(made.folder, f"whisper:{another_tiny_whisper(tmp_path / 'other', 1)}")
    other.evaluate(tmp_path / "other-results", "spes-encoder")
    with pytest.raises(UsageError, match="of 2"):
        rivalries([*made.given, *load_results(tmp_path / "other-results")], store=made.store)
