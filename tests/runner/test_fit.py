"""Selection on the dev split, `oracle` without one, and partners for swapped maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xbench.maps import Layout
from xbench.models.families.whisper import WhisperModel
from xbench.models.protocol import Hypothesis
from xbench.results import RunResult, read_result
from xbench.runner.evaluate import evaluate
from xbench.runner.keys import Decoded, Job, Spoken
from xbench.runner.partners import choose_partner
from xbench.runner.plan import prepare
from xbench.spec import Call, ExecutionOptions, RunSpec, Selection


@pytest.fixture
def options(tmp_path: Path) -> ExecutionOptions:
    return ExecutionOptions(output=str(tmp_path / "results"), cache=str(tmp_path / "cache"))


def demo(*methods: str, **changes: Any) -> RunSpec:
    spec = RunSpec(
        model="xbench-tiny",
        methods=tuple(map(Call.parse, methods)),
        tasks=("demo-asr-en",),
        masks=12,
        selection=Selection(limit=2),
    )
    return replace(spec, **changes)


def test_heads_are_selected_on_dev_and_said_so(options: ExecutionOptions) -> None:
    best, top = evaluate(demo("best-head", "top-k-heads:k=2"), options)
    for result, k in ((best, 1), (top, 2)):
        fitted = result.method.fitted
        assert fitted is not None
        assert (fitted.split, fitted.n) == ("dev", 4)
        assert len(fitted.choice["heads"]) == k
    assert top.method.fitted.choice["heads"][0] == best.method.fitted.choice["heads"][0]
    path = Path(options.output) / best.path()
    assert read_result(path) == best


def test_the_dev_clips_are_never_among_the_scored_ones(options: ExecutionOptions) -> None:
    (plan,) = prepare(demo("best-head")).tasks
    assert plan.dev is not None
    (result,) = evaluate(demo("best-head"), options)
    assert not {u.id for u in plan.dev.utterances} & set(result.utterances["id"])


def test_without_a_fitted_method_no_dev_clip_is_touched(options: ExecutionOptions) -> None:
    (plan,) = prepare(demo("mean-heads")).tasks
    assert plan.dev is None
    (result,) = evaluate(demo("mean-heads"), options)
    assert result.method.fitted is None


def own_data(methods: tuple[str, ...], manifest: Path) -> RunSpec:
    return demo(*methods, tasks=("asr",), data=str(manifest), selection=Selection())


def test_without_a_dev_split_the_row_is_an_oracle(
    options: ExecutionOptions, make_manifest: Any
) -> None:
    manifest = make_manifest({"a": 1.5, "b": 1.8})
    (result,) = evaluate(own_data(("best-head",), manifest), options)
    assert result.method.fitted is not None
    assert result.method.fitted.split == "oracle"


def test_the_selected_head_is_the_best_single_head_of_its_split(
    options: ExecutionOptions, make_manifest: Any
) -> None:
    manifest = make_manifest({"a": 1.5, "b": 1.8})
    spec = own_data(("best-head", "raw-attention:layer=*,head=*"), manifest)
    best, *heads = evaluate(spec, options)

    def value(result: RunResult) -> float:
        found = result.score("pearson", "spes-encoder").value
        assert found is not None
        return found

    assert value(best) == pytest.approx(max(map(value, heads)))


def test_a_second_run_fits_from_the_store(
    options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate(demo("best-head", "shuffled", "corpus-mean"), options)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the model was used again")

    for name in ("encode", "logits", "trace", "decode"):
        monkeypatch.setattr(WhisperModel, name, refuse)
    second = evaluate(demo("best-head", "shuffled", "corpus-mean"), options)
    assert [r.scores for r in second] == [r.scores for r in first]


def test_a_swapped_map_needs_another_cluster(options: ExecutionOptions, make_manifest: Any) -> None:
    same = {"a": {"cluster": "x"}, "b": {"cluster": "x"}}
    manifest = make_manifest({"a": 1.5, "b": 1.8}, same)
    (result,) = evaluate(own_data(("shuffled",), manifest), options)
    assert result.status == "unsupported"
    assert "another cluster" in (result.reason or "")


def test_a_swapped_map_is_not_the_own_map(options: ExecutionOptions) -> None:
    own, swapped = evaluate(demo("mean-heads", "shuffled"), options)
    assert own.status == swapped.status == "partial"
    assert not set(own.utterances["map_hash"]) & set(swapped.utterances["map_hash"])


def test_gradient_passes_are_measured(options: ExecutionOptions) -> None:
    attention, gradient, control = evaluate(
        demo("mean-heads", "saliency-encoder", "diagonal"), options
    )
    assert (attention.cost.forward_passes, attention.cost.backward_passes) == (2, 0)
    assert gradient.cost.backward_passes >= 2
    assert control.cost.forward_passes == 0


def test_a_broken_method_costs_only_its_own_results(
    options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xbench.methods import attention

    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("boom")

    monkeypatch.setattr(attention, "max_heads", broken)
    bad, good = evaluate(demo("max-heads", "mean-heads"), options)
    assert (bad.status, good.status) == ("unsupported", "partial")
    assert bad.reason == "it failed on en-0001: KeyError: 'boom'"


def test_a_broken_fit_costs_only_its_own_results(
    options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xbench.methods import corpus

    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("boom")

    monkeypatch.setattr(corpus, "fit_best_head", broken)
    bad, good = evaluate(demo("best-head", "mean-heads"), options)
    assert (bad.status, good.status) == ("unsupported", "partial")
    assert bad.reason == "its fit failed: KeyError: 'boom'"


def test_partners_are_of_another_cluster_and_follow_from_the_seed() -> None:
    (plan,) = prepare(demo("shuffled", selection=Selection())).tasks

    def decoded(number: int) -> Decoded:
        hypothesis = Hypothesis((), (number,), ("x",), (0,), "x", truncated=False)
        return Decoded(hypothesis, Layout((number,), ("x",), (0,), 4, 8, 2, 0.01), 1.0)

    found = {}
    for seed in (0, 1):
        jobs = [Job(plan.task, utterance, seed) for utterance in plan.manifest.utterances]
        spoken = [Spoken(job, decoded(n)) for n, job in enumerate(jobs)]
        partners = [choose_partner(one, spoken) for one in spoken]
        for job, partner in zip(jobs, partners, strict=True):
            assert partner is not None
            assert partner.job.utterance.cluster != job.utterance.cluster
        found[seed] = [p.job.utterance.id for p in partners if p]
    assert found[0] != found[1]
    same_text = [Spoken(job, decoded(7)) for job in jobs]
    assert choose_partner(same_text[0], same_text) is None


def test_an_oracle_says_so_on_the_table(
    options: ExecutionOptions, make_manifest: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from xbench.cli.result_tables import show_results

    results = evaluate(own_data(("best-head",), make_manifest({"a": 1.5, "b": 1.8})), options)
    show_results(results, Path(options.output))
    assert "best-head (oracle)" in capsys.readouterr().out
    show_results(evaluate(demo("best-head"), options), Path(options.output))
    assert "(oracle)" not in capsys.readouterr().out
