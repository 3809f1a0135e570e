"""Sanity gates: a broken target fails them, and what cannot be judged says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from torch import Tensor

from xbench import Call, ExecutionOptions, RunSpec, evaluate
from xbench.case import Case
from xbench.cli.result_tables import show_results
from xbench.data.manifest import read_manifest
from xbench.description import MethodDescription
from xbench.errors import UsageError
from xbench.metrics.sanity import GATES, gates_named
from xbench.results import GateRecord, read_result
from xbench.runner import stages
from xbench.runner.bench import Bench
from xbench.runner.gate_checks import Found
from xbench.runner.gates import _verdict, judge_gates
from xbench.runner.keys import Job, Spoken
from xbench.runner.plan import Method, prepare
from xbench.store import Store
from xbench.tasks import load_task

CLIPS = 6


def gate(name: str) -> Any:
    return next(g for g in GATES if g.name == name)


# -- broken targets -------------------------------------------------------------------------------

_calls = count()


def restless(case: Case) -> Tensor:
    """Give another map every time."""
    torch.manual_seed(next(_calls))
    return torch.rand(len(case.hypothesis.tokens), case.features.frames)


def leaking(case: Case) -> Tensor:
    """Look at the padding alone."""
    padding = case.features.values[case.features.melframes :].reshape(-1)
    rows, frames = len(case.hypothesis.tokens), case.features.frames
    cells = padding[: rows * frames].reshape(rows, frames).cpu()
    return (cells - cells.min()) + 1e-3 * torch.rand(rows, frames, generator=torch.manual_seed(0))


def target_blind(case: Case) -> Tensor:
    """Claim to be a gradient, but look at the audio alone; rows differ by a shift."""
    row = case.features.valid.mean(1)[:: case.features.stride].cpu()
    rows = [row.roll(7 * i) for i in range(len(case.hypothesis.tokens))]
    return torch.stack(rows) - row.min()


def incomplete(case: Case, *, target: str, baseline: str) -> Tensor:
    """Claim to sum to the change of the score, and do not."""
    return torch.ones(len(case.hypothesis.tokens), case.features.frames)


def broken(name: str, **changes: Any) -> Method:
    plain = MethodDescription(
        name=name.replace("_", "-"),
        version="1",
        summary="broken",
        source="test",
        implementation=f"{__name__}:{name}",
        kind="gradient",
        distribution=False,
        takes="case",
    )
    params = changes.pop("params", {})
    return Method(replace(plain, **changes), Call.make(plain.name, params), "xbench")


def method(text: str) -> Method:
    return Method.registered(Call.parse(text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, clip: Any) -> Path:
    place = tmp_path_factory.mktemp("gates")
    lines = []
    for number in range(CLIPS):
        soundfile.write(
            place / f"{number}.wav", clip(0.6 + 0.1 * number, number), 16000, subtype="FLOAT"
        )
        line = {"id": str(number), "audio": f"{number}.wav", "language": "en"}
        lines.append(json.dumps(line | {"transcript": "some words"}))
    (place / "clips.jsonl").write_text("\n".join(lines) + "\n")
    return place


@pytest.fixture(scope="module")
def judged(tiny: Any, folder: Path) -> Callable[..., dict[str, GateRecord]]:
    store = Store(folder / "cache")
    task = replace(load_task("asr-en"), references=())
    jobs = [Job(task, u, 0) for u in read_manifest(folder / "clips.jsonl").utterances]
    bench = Bench(tiny, store)
    spoken = [Spoken(job, stages.decode(bench, job)) for job in jobs]

    def judge(of: Method, *names: str, clips: int = CLIPS) -> dict[str, GateRecord]:
        gates = tuple(gate(name) for name in names)
        records = judge_gates(bench, gates, spoken[:clips], of)
        return {record.name: record for record in records}

    return judge


def test_attention_passes_what_applies_to_it(judged: Any) -> None:
    found = judged(method("mean-heads"), "determinism", "random-token", "convergence-delta")
    assert found["determinism"].status == "pass"
    assert (found["determinism"].value, found["determinism"].n) == (0, CLIPS)
    assert found["random-token"].status == "not-applicable"
    assert "by construction" in found["random-token"].reason
    assert found["convergence-delta"].status == "not-applicable"


def test_a_method_that_ignores_the_model_fails_mprt(judged: Any) -> None:
    record = judged(method("energy"), "mprt")["mprt"]
    assert (record.status, record.n) == ("fail", CLIPS)
    assert record.value == pytest.approx(1)
    assert record.threshold < 1
    # Two decoder layers, then everything.
    assert record.reason.startswith("cascade: 1.00, 1.00, 1.00; other utterances: ")


def test_the_smooth_variant_is_of_mean_maps(judged: Any) -> None:
    plain = judged(method("energy"), "mprt")["mprt"]
    smooth = judged(method("energy"), "smooth-mprt")["smooth-mprt"]
    assert (smooth.status, smooth.value) == ("fail", pytest.approx(1))
    assert smooth.threshold != plain.threshold, "the noise reaches the map"


def test_the_last_cross_attention_depends_on_the_weights(judged: Any) -> None:
    curve = judged(method("raw-attention:layer=1,head=0"), "mprt")["mprt"].reason
    last, both, everything = map(float, curve.split(": ")[1].split("; ")[0].split(", "))
    assert max(last, both, everything) < 0.9


def test_a_map_that_changes_by_itself_fails_determinism(judged: Any) -> None:
    assert judged(broken("restless"), "determinism")["determinism"].status == "fail"


def test_looking_at_the_padding_fails_padding_leak(judged: Any) -> None:
    record = judged(broken("leaking"), "padding-leak")["padding-leak"]
    assert record.status == "fail"
    assert record.value > 0.5
    assert judged(method("energy"), "padding-leak")["padding-leak"].status == "pass"


def test_the_same_row_for_every_token_fails_token_specificity(judged: Any) -> None:
    record = judged(method("energy"), "token-specificity")["token-specificity"]
    assert record.status == "fail"
    assert record.value == pytest.approx(0, abs=1e-9)
    assert (
        judged(method("diagonal:width=0.05"), "token-specificity")["token-specificity"].status
        == "pass"
    )


def test_a_map_that_ignores_its_target_fails_random_token(judged: Any) -> None:
    record = judged(broken("target_blind"), "random-token")["random-token"]
    assert record.status == "fail"
    assert record.value == pytest.approx(1)


def test_a_random_map_fails_max_sensitivity(judged: Any) -> None:
    found = judged(broken("restless"), "max-sensitivity")["max-sensitivity"]
    assert found.status == "fail"
    assert judged(method("energy"), "max-sensitivity")["max-sensitivity"].status == "pass"


def test_a_map_that_does_not_add_up_fails_convergence_delta(judged: Any) -> None:
    params = {"target": "logit", "baseline": "zero"}
    liar = broken("incomplete", complete=True, params=params)
    assert judged(liar, "convergence-delta")["convergence-delta"].status == "fail"


@pytest.mark.slow
def test_integrated_gradients_add_up_far_better(judged: Any) -> None:
    params = {"target": "logit", "baseline": "zero"}
    liar = broken("incomplete", complete=True, params=params)
    honest = method("integrated-gradients-encoder:steps=30,target=logit")
    record = judged(honest, "convergence-delta", clips=5)["convergence-delta"]
    assert record.value < 0.2 * judged(liar, "convergence-delta")["convergence-delta"].value


def test_few_clusters_cannot_be_judged(judged: Any) -> None:
    record = judged(method("energy"), "padding-leak", clips=4)["padding-leak"]
    assert (record.status, record.reason) == ("not-applicable", "fewer-than-5-clusters")
    assert record.value == pytest.approx(0, abs=1e-9)
    few = judged(method("energy"), "mprt", clips=3)["mprt"]
    assert few.status == "not-applicable"
    assert "fewer than 20" in few.reason


def test_a_constant_map_cannot_be_judged(judged: Any) -> None:
    found = judged(method("uniform"), "token-specificity", "padding-leak", "mprt")
    assert {record.status for record in found.values()} == {"not-applicable"}
    assert all(record.reason for record in found.values())


def test_a_method_of_another_utterance_and_one_that_crashes_are_not_applicable(
    judged: Any,
) -> None:
    swapped = judged(method("shuffled"), "determinism")["determinism"]
    assert (swapped.status, swapped.value) == ("not-applicable", None)
    crashing = broken("incomplete")  # lacks its parameters
    record = judged(crashing, "determinism")["determinism"]
    assert record.status == "not-applicable"
    assert "it failed: TypeError" in record.reason


# -- verdicts -------------------------------------------------------------------------------------

NAMES = [str(number) for number in range(6)]


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([0.5, 0.6, 0.5, 0.6, 0.5, 0.6], "pass"),
        (
            [0.89, 0.6, 0.99, 0.9, 0.7, 0.99],
            "fail",
        ),  # the mean lies below 0.9, its upper limit does not
        ([0.9] * 6, "fail"),
        ([0.8] * 6, "pass"),
    ],
)
def test_the_upper_limit_must_lie_below(values: list[float], status: str) -> None:
    record = _verdict(gate("random-token"), Found(values), NAMES, 0)
    assert (record.status, record.n, record.threshold) == (status, 6, 0.9)


def test_the_lower_limit_must_lie_above() -> None:
    specific = gate("token-specificity")
    assert _verdict(specific, Found([0.5, 0.6, 0.4] * 2), NAMES, 0).status == "pass"
    assert _verdict(specific, Found([0.9, 0.0, 0.0] * 2), NAMES, 0).status == "fail"


def test_the_largest_counts_for_determinism() -> None:
    assert _verdict(gate("determinism"), Found([0.0] * 5 + [1e-3]), NAMES, 0).status == "fail"
    assert _verdict(gate("determinism"), Found([0.0, 1e-6]), NAMES[:2], 0).status == "pass"


# -- through a run --------------------------------------------------------------------------------


def test_unknown_gates_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown gate 'mprtt'"):
        gates_named(("mprtt",))
    assert gates_named(("all",)) == GATES
    assert gates_named(()) == ()
    spec = RunSpec(model="xbench-tiny", methods=(Call("energy"),), gates=("all", "nonsense"))
    with pytest.raises(UsageError, match="unknown gate 'nonsense'"):
        prepare(spec)


def test_a_run_stores_and_shows_them(
    tiny_whisper_folder: Path, folder: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    spec = RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=(Call("mean-heads"),),
        tasks=("asr",),
        data=str(folder / "clips.jsonl"),
        masks=6,
        references=(Call("spes-encoder"),),
        gates=("determinism", "random-token"),
    )
    options = ExecutionOptions(str(tmp_path / "out"), str(tmp_path / "cache"), "cpu")
    (result,) = evaluate(spec, options)
    assert [(g.name, g.status) for g in result.gates] == [
        ("determinism", "pass"),
        ("random-token", "not-applicable"),
    ]
    assert read_result(tmp_path / "out" / result.path()) == result
    show_results([result], tmp_path)
    assert "determinism pass (0), random-token n/a" in capsys.readouterr().out
    monkeypatch.setattr("xbench.runner.gates._judge", None)  # what is stored is not judged again
    assert evaluate(spec, options)[0].gates == result.gates
    assert evaluate(replace(spec, gates=()), options)[0].gates == []
