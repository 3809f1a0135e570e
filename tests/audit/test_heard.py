"""Ladders judged by the model itself: the scores are those of a run, and orders that are kept cost nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from command_line import Run
from small_run import Made
from xbench import Call, ExecutionOptions, RunSpec, evaluate
from xbench.audit import heard
from xbench.audit.judged import ladders_of
from xbench.audit.stored_maps import map_of, one_run
from xbench.maps import Layout
from xbench.results import load_results
from xbench.runner.bench import bench_of
from xbench.runner.hearing import Hearing
from xbench.runner.verify import plan_of

# All tokens count, also those that the small model with random weights would write without the audio.
METRICS = (
    "deletion-auc:smallest_drop=0",
    "comprehensiveness",
    "sensitivity-n:smallest_drop=0",
    "deletion-auc-free",
    "insertion-auc-free-input:resolution=frames",
)
# It ranks single cells: attention methods have no score by it, and a step of a ladder is spread over the cells.
CELLS = "insertion-auc-input:smallest_drop=0"


def test_the_command_judges_every_ladder_by_passes(run: Run, made: Made) -> None:
    where = ("--cache", made.cache, "--model", made.model, "--data", made.folder / "clips.jsonl")
    asked = [part for name in (*METRICS, CELLS) for part in ("--metric", name)]
    sample = ("--sample", 2, "--device", "cpu", "--json")
    done = run("audit", "metrics", made.results, *where, *asked, *sample)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["clips"] == 2
    assert len(told["findings"]) == 6 * 2 * 7  # metrics, references, ladders
    blind = {
        (row["metric"].partition(":")[0], row["ladder"]) for row in told["findings"] if row["blind"]
    }
    # A power keeps the order of the frames, which is all that hiding them in order looks at.
    assert {
        (name, "sharpen") for name in ("deletion-auc", "comprehensiveness", "deletion-auc-free")
    } <= blind
    assert ("sensitivity-n", "sharpen") not in blind


def test_a_map_as_it_was_has_the_score_of_its_result(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = RunSpec(
        model=made.model,
        methods=(Call("mean-heads"),),
        tasks=("asr",),
        data=str(made.folder / "clips.jsonl"),
        masks=24,
        references=(Call.parse("spes-encoder"),),
        metrics=tuple(map(Call.parse, METRICS)),
    )
    evaluate(spec, ExecutionOptions(str(tmp_path), str(made.cache), "cpu"))
    (result,) = load_results(tmp_path)
    stored = one_run([result], made.store)
    (method,) = (m for m in stored.methods.values() if m.call.name == "mean-heads")
    plan = plan_of(result, sample=None, model=made.model, data=spec.data)
    bench = bench_of(plan, ExecutionOptions(cache=str(made.cache), device="cpu"))
    spoken = heard.spoken_here(stored, plan)[0]
    passes: list[str] = []
    measured = heard.measured
    monkeypatch.setattr(
        heard, "measured", lambda *given: passes.append(given[1].name) or measured(*given)
    )
    calls = heard.calls_of(METRICS)
    ladders = ladders_of(spoken)
    found: dict[tuple[str, str], list[float | None]] = {}
    hearing = Hearing(bench.model, spoken.job, spoken.decoded, bench.batch_size)
    first = map_of(stored, spoken, method)
    for (call, ladder), value in heard.values_of_steps(
        bench, hearing, spoken, first, ladders, calls
    ):
        found.setdefault((call.name, ladder), []).append(value)
    row = result.utterances["id"].index(spoken.job.utterance.id)
    for (name, ladder), values in found.items():
        sizes = next(one.sizes for one in ladders if one.name == ladder)
        assert len(values) == 1 + len(sizes)
        assert values[0] == pytest.approx(result.utterances[name][row], abs=1e-6)
    # Random sets are measured once; curves once per order of the frames, which powers keep, for both of their metrics.
    assert passes.count("sensitivity-n") == 1
    steps = sum(len(one.sizes) for one in ladders if one.name != "sharpen")
    assert passes.count("comprehensiveness") == 0
    assert passes.count("deletion-auc") <= 1 + steps


def test_a_step_is_spread_over_the_cells_of_its_frames() -> None:
    layout = Layout(
        (7, 8), ("a", "b"), (0, 1), frames=2, melframes=5, stride=2, melframe_seconds=0.01
    )
    found = heard.spread(np.array([[1.0, 2.0], [3.0, 4.0]]), layout, 3)
    # A frame is two melframes; the one behind the last frame has the value of that.
    expected = np.array([[1, 1, 2, 2, 2], [3, 3, 4, 4, 4]], dtype=float)[..., None]
    np.testing.assert_array_equal(found, np.broadcast_to(expected, (2, 5, 3)))


def test_a_model_that_cannot_write_anew_is_not_asked_to(
    run: Run, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heard, "offers", lambda model, what: False)
    where = ("--cache", made.cache, "--model", made.model, "--data", made.folder / "clips.jsonl")
    done = run("audit", "metrics", made.results, *where, "--metric", "insertion-auc-free")
    assert done.code == 2
    assert "cannot write from what its encoder puts out" in done.err
