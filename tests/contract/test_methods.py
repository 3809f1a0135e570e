"""Every registered method passes the battery that plugins run, and the battery catches what it promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench import registry
from xbench.case import Case
from xbench.description import MethodDescription, Parameter
from xbench.errors import Unsupported, UsageError
from xbench.models.loading import load_model
from xbench.testing import CheckResult, check_method, demo_cases
from xbench.testing.methods import CHECKS
from xbench.trace import Trace

# Smaller than the defaults, which cost minutes on the spectrogram; the contract is the same.
SMALL = {
    "smoothgrad": "samples=2",
    "gradient-shap": "samples=2",
    "integrated-gradients": "steps=2",
    "occlusion": "window=60,step=60",
    "feature-ablation": "segments=6",
    "lime": "samples=30,segments=8",
    "kernel-shap": "samples=30,segments=8",
    "rise": "samples=20",
    "spes": "masks=12",
}

# What built-ins cannot pass, and why.
EXPECTED: dict[str, dict[str, str]] = {}


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model("xbench-tiny", device="cpu")


@pytest.fixture(scope="module")
def cases(model: Any) -> list[Case]:
    return demo_cases(model)


@pytest.fixture(scope="module")
def of_kind(model: Any, cases: list[Case]) -> Callable[[tuple[str, ...]], tuple[Any, list[Case]]]:
    """Return the function from the kinds of models that a method supports to a packaged model of one of them."""

    def chosen(kinds: tuple[str, ...]) -> tuple[Any, list[Case]]:
        if "encoder-decoder" in kinds:
            return model, cases
        sibling = load_model("xbench-tiny-lm", device="cpu")
        return sibling, demo_cases(sibling)

    return chosen


def small(name: str) -> str:
    params = SMALL.get(name.removesuffix("-encoder"))
    return f"{name}:{params}" if params else name


@pytest.mark.parametrize("name", registry.methods.names())
def test_every_registered_method_keeps_the_contract(
    name: str, of_kind: Callable[[tuple[str, ...]], tuple[Any, list[Case]]]
) -> None:
    model, cases = of_kind(registry.methods.get(name).kinds)
    results = check_method(small(name), model, cases, expected_failures=EXPECTED.get(name))
    assert [r.check for r in results] == list(CHECKS)
    assert [r for r in results if not r.ok] == []
    skipped = {r.check for r in results if r.status == "skipped"}
    description = registry.methods.get(name)
    allowed = (
        {"target"} if "seed" in {p.name for p in description.parameters} else {"target", "seed"}
    )
    allowed |= {"rows"} | (set() if description.distribution else {"distribution"})
    assert skipped <= allowed, "the packaged model should support every built-in of its kind"
    if description.uses_gradients:
        assert "target" not in skipped
    if name in {"mean-heads", "raw-attention", "alti", "value-norm", "spes-encoder"}:
        assert "rows" not in skipped


def test_the_default_model_and_clips_do() -> None:
    assert all(r.ok for r in check_method("mean-heads"))


# -- the battery can fail -------------------------------------------------------------------------


def describe(
    implementation: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, **more: Any
) -> MethodDescription:
    monkeypatch.setattr("xbench.testing.planted_method", implementation, raising=False)
    options: dict[str, Any] = {"kind": "attention", "distribution": False, "takes": "case"}
    return MethodDescription(
        name="planted-method",
        version="1",
        summary="",
        source="",
        implementation="xbench.testing:planted_method",
        **(options | more),
    )


@pytest.fixture
def outcome(
    model: Any, cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, CheckResult]]:
    def run(
        implementation: Callable[..., Any],
        expected_failures: dict[str, str] | None = None,
        **more: Any,
    ) -> dict[str, CheckResult]:
        description = describe(implementation, monkeypatch, **more)
        found = check_method(description, model, cases, expected_failures=expected_failures)
        return {r.check: r for r in found}

    return run


def broken(results: dict[str, CheckResult]) -> set[str]:
    return {name for name, result in results.items() if not result.ok}


def plain(case: Case) -> Tensor:
    assert case.trace is not None
    return case.trace.cross_attention.mean((0, 1))


def test_a_good_method_passes(outcome: Callable[..., dict[str, CheckResult]]) -> None:
    assert broken(outcome(plain, distribution=True)) == set()


def transposed(case: Case) -> Tensor:
    return plain(case).T


def without_a_frame(case: Case) -> Tensor:
    return plain(case)[:, 1:]


def crashing(case: Case) -> Tensor:
    raise KeyError("no such thing")


def hollow(case: Case) -> Tensor:
    return plain(case).log()


def infinite(case: Case) -> Tensor:
    values = plain(case).clone()
    values[1, 2] = float("nan")
    return values


def negative(case: Case) -> Tensor:
    return plain(case) - 0.5


def doubled(case: Case) -> Tensor:
    return 2 * plain(case)


def noisy(case: Case) -> Tensor:
    return plain(case) + torch.rand(())


def jittery(case: Case) -> Tensor:
    generator = np.random.default_rng()  # nobody's seed, but nobody's state either
    return plain(case) * float(generator.uniform(1, 2))


LENGTHS: list[int] = []


def remembering(case: Case) -> Tensor:
    LENGTHS.append(len(case.hypothesis.tokens))
    return plain(case) * max(LENGTHS)


def greedy(case: Case) -> Tensor:
    assert case.trace is not None
    return plain(case) * (2 if case.trace.encoder_attention is not None else 1)


def hooking(case: Case) -> Tensor:
    case.model.network.register_forward_hook(lambda *_: None)  # type: ignore[attr-defined]
    return plain(case)


def marking(case: Case) -> Tensor:
    case.model.network.model.encoder.seen = True  # type: ignore[attr-defined]
    return plain(case)


def training(case: Case) -> Tensor:
    case.model.network.train()  # type: ignore[attr-defined]
    return plain(case)


def requiring(case: Case) -> Tensor:
    next(case.model.network.parameters()).requires_grad_(True)  # type: ignore[attr-defined]
    return plain(case)


def nudging(case: Case) -> Tensor:
    next(case.model.network.parameters()).data.add_(1e-6)  # type: ignore[attr-defined]
    return plain(case)


def scaling_the_trace(case: Case) -> Tensor:
    assert case.trace is not None
    with torch.inference_mode():
        case.trace.cross_attention.mul_(1.0001)
    return plain(case)


def silencing(case: Case) -> Tensor:
    case.features.values[-1] += 1
    return plain(case)


def one_row_late(case: Case) -> Tensor:
    return torch.cat([plain(case)[:1], plain(case)[:-1]])


def one_row_early(case: Case) -> Tensor:
    return torch.cat([plain(case)[1:], plain(case)[-1:]])


def drawing(case: Case) -> Tensor:
    torch.rand(1)
    return plain(case)


def switching_kernels(case: Case) -> Tensor:
    torch.backends.mkldnn.enabled = False
    return plain(case)


def patching_numpy(case: Case) -> Tensor:
    np.mean = np.median
    return plain(case)


def drawing_numpy(case: Case) -> Tensor:
    np.random.rand()
    return plain(case)


@pytest.mark.parametrize(
    ("method", "check", "more"),
    [
        (transposed, "map", {}),
        (without_a_frame, "map", {}),
        (crashing, "map", {}),
        (plain, "map", {"space": "input"}),
        (infinite, "finite", {}),
        (negative, "map", {}),
        (doubled, "distribution", {"distribution": True}),
        (noisy, "deterministic", {}),
        (jittery, "deterministic", {}),
        (remembering, "independent", {}),
        (greedy, "one-pass", {}),
        (hooking, "hooks", {}),
        (marking, "hooks", {}),
        (training, "model", {}),
        (requiring, "model", {}),
        (nudging, "model", {}),
        (scaling_the_trace, "trace", {}),
        (silencing, "trace", {}),
        (drawing, "surroundings", {}),
        (drawing_numpy, "surroundings", {}),
        (switching_kernels, "surroundings", {}),
        (patching_numpy, "surroundings", {}),
        (plain, "target", {"uses_gradients": True}),
        (one_row_late, "rows", {}),
        (one_row_early, "rows", {}),
    ],
)
def test_each_break_is_found(
    method: Callable[..., Tensor],
    check: str,
    more: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    LENGTHS.clear()
    # Some of them change what the process shares, and not every check puts it back.
    monkeypatch.setattr(np, "mean", np.mean)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", torch.backends.mkldnn.enabled)
    own = load_model("xbench-tiny", device="cpu")  # some of them damage it
    results = check_method(describe(method, monkeypatch, **more), own, demo_cases(own))
    found = {r.check: r for r in results}
    assert found[check].status == "failed", results
    assert found[check].detail


def test_a_crash_names_itself(outcome: Callable[..., dict[str, CheckResult]]) -> None:
    results = outcome(crashing)
    assert results["map"].detail == "KeyError: 'no such thing'"
    assert results["signature"].status == "passed"
    later = [r.status for name, r in results.items() if name not in ("signature", "map")]
    assert set(later) == {"skipped"}


def test_a_parameter_that_the_function_does_not_take_is_found_first(
    outcome: Callable[..., dict[str, CheckResult]],
) -> None:
    layers = Parameter("layers", "str", "", default="all")
    found = outcome(plain, parameters=(layers,))
    assert broken(found) == {"signature"}
    assert "has no keyword 'layers'" in found["signature"].detail
    assert {r.status for name, r in found.items() if name != "signature"} == {"skipped"}


def test_a_seed_must_matter(outcome: Callable[..., dict[str, CheckResult]]) -> None:
    def deaf(case: Case, *, seed: int) -> Tensor:
        return plain(case)

    seed = Parameter("seed", "int", "", default=0)
    assert outcome(deaf, parameters=(seed,))["seed"].detail == ("another seed gives the same map")


def test_rows_before_another_token_must_stay(
    outcome: Callable[..., dict[str, CheckResult]],
) -> None:
    def looking_ahead(case: Case) -> Tensor:
        return plain(case) * float(sum(case.hypothesis.tokens))

    detail = outcome(looking_ahead, uses_gradients=True)["target"].detail
    assert "changes row 0" in detail


def test_a_layer_that_does_not_exist_must_be_refused(
    outcome: Callable[..., dict[str, CheckResult]],
) -> None:
    def forgiving(case: Case, *, layer: int) -> Tensor:
        assert case.trace is not None
        count = len(case.trace.cross_attention)
        return case.trace.cross_attention[min(layer, count - 1)].mean(0)

    layer = Parameter("layer", "int", "", required=True, minimum=0, sweep="layer")
    found = outcome(forgiving, parameters=(layer,))
    assert broken(found) == {"refuses"}
    assert "layer=9999 does not exist" in found["refuses"].detail


def test_a_foreign_model_must_not_crash_it(
    outcome: Callable[..., dict[str, CheckResult]],
) -> None:
    def reaching(case: Case) -> Tensor:
        assert case.model.network is not None  # type: ignore[attr-defined]
        return plain(case)

    def polite(case: Case) -> Tensor:
        if not hasattr(case.model, "network"):
            raise Unsupported("it needs the network")
        return plain(case)

    def partial(case: Case) -> Tensor:
        return plain(case) * (1 if case.model.info.family == "whisper" else 2)

    assert broken(outcome(partial)) == {"refuses"}
    found = outcome(reaching)
    assert broken(found) == {"refuses"}
    assert "AttributeError" in found["refuses"].detail
    assert broken(outcome(polite)) == set()
    assert broken(outcome(reaching, families=("whisper",))) == set()


def test_an_unsupported_model_skips_all_with_the_reason(
    outcome: Callable[..., dict[str, CheckResult]],
) -> None:
    found = outcome(plain, families=("speech2text",))
    assert {r.status for r in found.values()} == {"skipped"}
    assert "it supports speech2text, not whisper" in found["map"].detail


def test_a_declared_failure_carries_its_reason(
    outcome: Callable[..., dict[str, CheckResult]],
) -> None:
    found = outcome(infinite, {"finite": "divides by zero on silence"})
    told = "divides by zero on silence (1 values are not finite, the first at [1, 2])"
    assert found["finite"] == CheckResult("finite", "expected", told)
    assert found["finite"].ok


def test_a_declared_failure_that_passes_is_a_failure(
    outcome: Callable[..., dict[str, CheckResult]],
) -> None:
    found = outcome(plain, {"finite": "no longer true"})
    assert found["finite"].status == "failed"
    assert "no longer true" in found["finite"].detail


def test_unknown_names_are_usage_errors(model: Any, cases: list[Case]) -> None:
    with pytest.raises(UsageError, match="unknown method 'mean-head'"):
        check_method("mean-head", model, cases)
    with pytest.raises(UsageError, match="there is no check 'speed'"):
        check_method("mean-heads", model, cases, expected_failures={"speed": "slow"})


def test_a_method_of_the_trace_gets_the_trace(
    outcome: Callable[..., dict[str, CheckResult]],
) -> None:
    def of_trace(trace: Trace) -> Tensor:
        return trace.cross_attention.mean((0, 1))

    assert broken(outcome(of_trace, takes="trace", distribution=True)) == set()
