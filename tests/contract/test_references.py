"""Every registered reference passes the battery that plugins run, and the battery catches what it promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from command_line import Run
from xbench import registry
from xbench.case import Case
from xbench.data.manifest import Word
from xbench.description import Parameter, ReferenceDescription
from xbench.errors import Unsupported, UsageError, UtteranceError
from xbench.models.loading import load_model
from xbench.references.estimation import Sampling
from xbench.references.reference import Facts
from xbench.testing import CheckResult, check_reference
from xbench.testing.planted import Planted
from xbench.testing.references import CHECKS

# Cheaper than the defaults on a clip of half a second; the contract is the same.
SMALL = {
    "spes-input": "rates=40,precision=float32",
    "spes-input-contrast": "rates=40",
    "spes-encoder": "precision=float32",
    "spes-encoder-removed": "precision=float32",
    "spes-encoder-words": "precision=float32",
    "spes-input-words": "precision=float32",
}
# The toy model has no cross-attention from which a frame could be taken.
WITHOUT_EVIDENCE = "spes-encoder-removed"


@pytest.mark.parametrize("name", registry.references.names())
def test_every_registered_reference_keeps_the_contract(
    name: str, tiny: Any, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]
) -> None:
    call = f"{name}:{SMALL[name]}" if name in SMALL else name
    words = (Word("one", 0.05, 0.2), Word("two", 0.25, 0.45))
    results = check_reference(call, case=replace(case_of(tiny, clip(0.5)), words=words))
    told = {r.check: (r.status, r.detail) for r in results}
    if name == WITHOUT_EVIDENCE:
        status, detail = told.pop("evidence")
        assert (status, "use spes-encoder" in detail) == ("skipped", True)
    assert list(told) == [check for check in CHECKS if check in told]
    assert set(told.values()) == {("passed", "")}


@pytest.mark.slow
def test_the_default_model_and_clip_do() -> None:
    assert {r.status for r in check_reference("spes-encoder")} == {"passed"}


# -- the battery can fail -------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """Masked means of the fall of each token's log-probability, from two halves of random masks."""

    both: np.ndarray  # [half, token, frame]
    masks: int
    together: np.ndarray | None = None

    def mean(self) -> Any:
        return self.both.mean(0) if self.together is None else self.together

    def halves(self) -> Any:
        return self.both[0], self.both[1]

    def facts(self) -> Any:
        return Facts(masks=(self.masks // 2, self.masks - self.masks // 2), neutral="zero vector")

    def to_artefact(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"both": self.both}, {"masks": self.masks}


def restore(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Drawn:
    return Drawn(arrays["both"], facts["masks"])


def drawn(case: Case, sampling: Sampling, *, masks: int) -> Drawn:
    rng = np.random.default_rng(sampling.seed)
    hidden = rng.random((masks, case.features.frames)) < 0.5
    tokens = torch.tensor(case.hypothesis.tokens)
    with torch.inference_mode():
        encoded = case.model.encode(case.features.values[None])
        masked = case.model.frame_masking(encoded, case.hypothesis)

        def own(rows: np.ndarray) -> torch.Tensor:
            keep = torch.ones(len(rows), encoded.shape[1])
            keep[:, : rows.shape[1]] -= torch.from_numpy(rows).float()
            return masked(keep).log_softmax(-1).gather(-1, tokens.expand(len(rows), -1)[..., None])

        clean, falls = own(np.zeros((1, hidden.shape[1]))), []
        for first in range(0, masks, sampling.batch_size or masks):
            rows = hidden[first : first + (sampling.batch_size or masks)]
            falls.append((clean - own(rows))[..., 0])
            sampling.progress(len(rows))
    fall = torch.cat(falls).numpy()
    both = [(h.T.astype(float) @ f).T / h.sum(0) for h, f in _halves(hidden, fall)]
    return Drawn(np.stack(both), masks)


def _halves(hidden: np.ndarray, fall: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(hidden[0::2], fall[0::2]), (hidden[1::2], fall[1::2])]


Outcome = Callable[..., dict[str, CheckResult]]


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch, case_of: Callable[..., Case]) -> Outcome:
    """Return the function from an implementation, by default on the planted model, to what each check found."""

    def run(
        implementation: Any,
        case: Case | None = None,
        expected_failures: dict[str, str] | None = None,
        **more: Any,
    ) -> dict[str, CheckResult]:
        monkeypatch.setattr("xbench.testing.planted_reference", implementation, raising=False)
        options: dict[str, Any] = {
            "space": "encoder",
            "estimator": "masked-mean",
            "bound": "masks",
            "restore": f"{__name__}:restore",
            "parameters": (Parameter("masks", "int", "", required=True, minimum=6),),
        }
        description = ReferenceDescription(
            name="planted-reference",
            version="1",
            summary="",
            source="",
            implementation="xbench.testing:planted_reference",
            **(options | more),
        )
        results = check_reference(
            description, case=case or case_of(Planted()), expected_failures=expected_failures
        )
        assert [r.check for r in results] == list(CHECKS)
        return {r.check: r for r in results}

    return run


def broken(results: dict[str, CheckResult]) -> set[str]:
    return {name for name, result in results.items() if not result.ok}


def test_a_good_reference_passes(
    outcome: Outcome, tiny: Any, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]
) -> None:
    assert {r.status for r in outcome(drawn).values()} == {"passed"}
    found = outcome(drawn, case_of(tiny, clip(0.5)))
    assert {r.status for r in found.values()} == {"passed"}


def changed(**changes: Any) -> Callable[..., Any]:
    """Return an implementation whose references differ in these methods."""

    def implementation(case: Case, sampling: Sampling, *, masks: int) -> Any:
        good = drawn(case, sampling, masks=masks)
        body = {name: lambda self, value=value: value(good) for name, value in changes.items()}
        return type("Changed", (Drawn,), body)(good.both, good.masks)

    return implementation


def no_reference(case: Case, sampling: Sampling, *, masks: int) -> Any:
    return drawn(case, sampling, masks=masks).mean()


def crashing(case: Case, sampling: Sampling, *, masks: int) -> Any:
    raise KeyError("no such thing")


def jittery(case: Case, sampling: Sampling, *, masks: int) -> Any:
    return drawn(
        case, replace(sampling, seed=int(np.random.default_rng().integers(2**62))), masks=masks
    )


def deaf_to_the_seed(case: Case, sampling: Sampling, *, masks: int) -> Any:
    return drawn(case, replace(sampling, seed=3), masks=masks)


def by_batch(case: Case, sampling: Sampling, *, masks: int) -> Any:
    good = drawn(case, sampling, masks=masks)
    return Drawn(good.both * (1 + 1e-3 * (sampling.batch_size == 7)), masks)


def too_many_passes(case: Case, sampling: Sampling, *, masks: int) -> Any:
    silent = replace(sampling, progress=lambda passes: None)
    drawn(case, silent, masks=masks)
    return drawn(case, sampling, masks=masks)


def many_passes_in_any_case(case: Case, sampling: Sampling, *, masks: int) -> Any:
    drawn(case, replace(sampling, progress=lambda passes: None), masks=500)
    return drawn(case, sampling, masks=masks)


def silent(case: Case, sampling: Sampling, *, masks: int) -> Any:
    return drawn(case, replace(sampling, progress=lambda passes: None), masks=masks)


def boastful(case: Case, sampling: Sampling, *, masks: int) -> Any:
    sampling.progress(1)
    return drawn(case, sampling, masks=masks)


def drawing(case: Case, sampling: Sampling, *, masks: int) -> Any:
    torch.rand(1)
    return drawn(case, sampling, masks=masks)


def scribbling(case: Case, sampling: Sampling, *, masks: int) -> Any:
    case.features.values[-1] += 1
    return drawn(case, sampling, masks=masks)


def crashing_on_one_token(case: Case, sampling: Sampling, *, masks: int) -> Any:
    if len(case.hypothesis.tokens) == 1:
        raise ZeroDivisionError("division by zero")
    return drawn(case, sampling, masks=masks)


def hollow_on_one_token(case: Case, sampling: Sampling, *, masks: int) -> Any:
    good = drawn(case, sampling, masks=masks)
    return Drawn(good.both * np.nan, masks) if len(case.hypothesis.tokens) == 1 else good


def backwards(case: Case, sampling: Sampling, *, masks: int) -> Any:
    return Drawn(-drawn(case, sampling, masks=masks).both, masks)


def misfit(case: Case, sampling: Sampling) -> Any:
    return drawn(case, sampling, masks=6)


@pytest.mark.parametrize(
    ("implementation", "check", "sentence"),
    [
        (misfit, "signature", "has no keyword 'masks'"),
        (no_reference, "map", "returns a ndarray, which lacks one of mean, halves"),
        (crashing, "map", "KeyError: 'no such thing'"),
        (changed(mean=lambda r: r.both[0].T), "map", "shape [12, 3], expected [3, 12]"),
        (changed(mean=lambda r: [[1.0]]), "map", "is not an array of numbers"),
        (changed(mean=lambda r: np.log(r.both[0] * 0 - 1)), "finite", "36 values are not finite"),
        (changed(halves=lambda r: (r.both[0], r.both[1] / 0)), "finite", "a half"),
        (jittery, "deterministic", "the same seed give different maps"),
        (deaf_to_the_seed, "seed", "another seed gives the same map"),
        (changed(halves=lambda r: (r.both[0], r.both[0])), "halves", "are the same map"),
        (changed(halves=lambda r: r.both[:, 1:]), "halves", "a half has shape [2, 12]"),
        (changed(mean=lambda r: 9 * r.both.mean(0)), "halves", "is no mean of its halves"),
        (by_batch, "batch", "in batches of 7 the map differs by 0.001"),
        (too_many_passes, "passes", "allowed 48 passes more than 48, it makes 96 more"),
        (
            many_passes_in_any_case,
            "passes",
            "makes 550 passes, but its description tells of at most 48",
        ),
        (silent, "progress", "it tells of 0 and 0 passes"),
        (boastful, "progress", "it tells of 49 passes"),
        (changed(facts=lambda r: {"masks": 3}), "facts", "of type dict, not Facts"),
        (
            changed(facts=lambda r: Facts(kept=np.array([2.0, 0, 0]))),
            "facts",
            "kept is not a share",
        ),
        (changed(facts=lambda r: Facts(masks=(-1, 1))), "facts", "masks = (-1, 1)"),
        (changed(facts=lambda r: Facts(neutral="")), "facts", "neutral = ''"),
        (
            changed(to_artefact=lambda r: ({"both": r.both}, {"masks": {1, 2}})),
            "artefact",
            "the facts of its artefact are not JSON",
        ),
        (
            changed(to_artefact=lambda r: ({"both": np.array([r])}, {"masks": 48})),
            "artefact",
            "'both' of its artefact is not an array",
        ),
        (
            changed(to_artefact=lambda r: ({"both": r.both.astype("f2")}, {"masks": 48})),
            "artefact",
            "the map that is made again from what is stored differs",
        ),
        (
            changed(to_artefact=lambda r: ({"both": r.both[::-1]}, {"masks": 48})),
            "artefact",
            "the halves that are made again from what is stored differ",
        ),
        (
            changed(to_artefact=lambda r: ({"both": r.both}, {"masks": 50})),
            "artefact",
            "the facts that are made again from what is stored differ",
        ),
        (drawing, "surroundings", "torch's random numbers"),
        (scribbling, "case", "features.values"),
        (crashing_on_one_token, "short", "ends in ZeroDivisionError: division by zero"),
        (hollow_on_one_token, "short", "are not finite"),
        (backwards, "evidence", "token 0 needs cells whose mean relevance"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the arithmetic that breaks maps
def test_each_break_is_found(
    implementation: Any, check: str, sentence: str, outcome: Outcome
) -> None:
    found = outcome(implementation)
    assert found[check].status == "failed", found
    assert sentence in found[check].detail


def hooking(case: Case, sampling: Sampling, *, masks: int) -> Any:
    case.model.network.register_forward_hook(lambda *_: None)  # type: ignore[attr-defined]
    return drawn(case, sampling, masks=masks)


def training(case: Case, sampling: Sampling, *, masks: int) -> Any:
    case.model.network.train()  # type: ignore[attr-defined]
    return drawn(case, sampling, masks=masks)


def nudging(case: Case, sampling: Sampling, *, masks: int) -> Any:
    next(case.model.network.parameters()).data.add_(1e-6)  # type: ignore[attr-defined]
    return drawn(case, sampling, masks=masks)


def crashing_on_one_frame(case: Case, sampling: Sampling, *, masks: int) -> Any:
    if case.features.frames == 1:
        raise ZeroDivisionError("division by zero")
    return drawn(case, sampling, masks=masks)


@pytest.mark.parametrize(
    ("implementation", "check"),
    [(hooking, "hooks"), (training, "model"), (nudging, "model"), (crashing_on_one_frame, "short")],
)
def test_a_model_that_is_damaged_is_noticed(
    implementation: Any,
    check: str,
    outcome: Outcome,
    tiny_whisper_folder: Any,
    case_of: Callable[..., Case],
    clip: Callable[..., np.ndarray],
) -> None:
    own = load_model(f"whisper:{tiny_whisper_folder}", device="cpu")
    assert check in broken(outcome(implementation, case_of(own, clip(0.5))))


def test_a_bound_or_trial_that_is_no_parameter_is_found(outcome: Outcome) -> None:
    found = outcome(drawn, bound="mask")
    assert found["signature"].detail == "its bound names 'mask', which is not among its parameters"
    found = outcome(drawn, trial={"estimater": "masked-mean"})
    assert "its trial names 'estimater'" in found["signature"].detail


def test_refusals(outcome: Outcome) -> None:
    def refusing(case: Case, sampling: Sampling, *, masks: int) -> Any:
        raise UtteranceError("no-alignment", "nobody aligned this clip")

    def foreign(case: Case, sampling: Sampling, *, masks: int) -> Any:
        raise Unsupported("it needs an encoder with a convolution")

    found = outcome(refusing)
    assert {r.status for r in found.values()} == {"skipped"}
    assert "nobody aligned this clip" in found["map"].detail
    assert {r.detail for r in outcome(foreign).values()} == {
        "unsupported by model 'planted': it needs an encoder with a convolution"
    }


def test_a_reference_that_draws_nothing(outcome: Outcome) -> None:
    def exact(case: Case, sampling: Sampling) -> Any:
        values = np.zeros((len(case.hypothesis.tokens), case.features.frames))
        for row, frames in enumerate(Planted().frames[: len(values)]):
            values[row, list(frames)] = 1
        return type("Exact", (Drawn,), {"halves": lambda self: None})(np.stack([values] * 2), 0)

    found = outcome(exact, bound=None, parameters=())
    assert broken(found) == {"artefact"}, "what is restored has halves"
    assert {n for n, r in found.items() if r.status == "skipped"} == {
        *("seed", "halves", "passes", "progress")
    }


def test_a_declared_failure_carries_its_reason(outcome: Outcome) -> None:
    found = outcome(deaf_to_the_seed, expected_failures={"seed": "its masks are all masks"})
    told = "its masks are all masks (another seed gives the same map)"
    assert found["seed"] == CheckResult("seed", "expected", told)
    assert broken(found) == set()


def test_unknown_names_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="unknown reference 'spes-encode'"):
        check_reference("spes-encode")
    with pytest.raises(UsageError, match="must be >= 6"):
        check_reference("spes-encoder:masks=2")


def test_the_command_line_checks_a_reference(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, str]] = []

    def noted(name: str, model: str) -> list[CheckResult]:
        shown.append((name, model))
        return [CheckResult("map", "failed", "it is upside down")]

    monkeypatch.setattr("xbench.testing.check_reference", noted)
    done = run("check", "reference", "spes-encoder:p=0.5", "--model", "whisper:here")
    assert (done.code, shown) == (1, [("spes-encoder:p=0.5", "whisper:here")])
    assert "it is upside down" in done.out
    assert run("check", "reference", "spes-encode").code == 2
