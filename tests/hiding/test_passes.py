"""Faster passes are taken only where a check on the utterance's own tokens lets them, and it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.errors import UsageError
from xbench.hiding import checks, passes, way
from xbench.hiding import twin as twin_module
from xbench.models.device import BFLOAT16
from xbench.models.metered import MeteredModel
from xbench.references.estimation import Sampling
from xbench.references.sampled import SampledReference
from xbench.references.spes import spes_encoder, spes_input
from xbench.spec import Decoding

CaseOf = Callable[..., Case]
INPUT: dict[str, Any] = {
    "p": 0.5,
    "rates": "400",
    "compactness": 0.1,
    "sigma": 0.0,
    "cap_seconds": 7.5,
}


@pytest.fixture(autouse=True)
def _a_machine_with_fast_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "fast_precisions", lambda device: (BFLOAT16,))


@pytest.fixture
def tiny_case(tiny: Any, case_of: CaseOf, clip: Callable[..., np.ndarray]) -> Case:
    return case_of(tiny, clip(0.6, 3))


@pytest.fixture(scope="module")
def digits(micro: Any, shared_folder: Any) -> Case:
    audio = read_audio(shared_folder / "audio" / "en-digits-theo.flac", 16_000)
    features = micro.features(audio)
    return Case(micro, features, micro.decode(features, "en", None, Decoding()), "digits")


def encoder(case: Case, masks: int = 12, **options: Any) -> SampledReference:
    return spes_encoder(case, Sampling(), masks=masks, p=0.7, **options)


def frozen(case: Case, **options: Any) -> SampledReference:
    return spes_input(case, Sampling(), masks=6, padding="frozen", **INPUT, **options)


# -- precision ------------------------------------------------------------------------------------


def test_a_trained_model_passes_the_check_and_the_maps_agree(digits: Case) -> None:
    fast = encoder(digits, 60, precision="auto")
    assert fast.computation["precision"] == "bfloat16"
    assert fast.computation["precision_reason"] == "check-passed"
    assert 0 < fast.computation["precision_noise"] < 0.01  # type: ignore[operator]
    assert fast.computation["precision_following"] <= checks.FOLLOWING  # type: ignore[operator]
    exact = encoder(digits, 60)
    assert exact.computation["precision"] == "float32"
    for row in digits.hypothesis.content:
        assert np.corrcoef(fast.mean()[row], exact.mean()[row])[0, 1] > 0.999
    assert not np.array_equal(fast.sums, exact.sums)


def test_a_model_that_bfloat16_ruins_stays_in_float32(
    digits: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    products_in = twin_module._products_in

    def coarse(*arguments: Any) -> torch.nn.Module:
        network = products_in(*arguments)
        for layer in network.model.decoder.layers:  # type: ignore[union-attr]
            # As rounding would that is far coarser than bfloat16's.
            layer.fc2.register_forward_hook(lambda module, inputs, output: 0.84 * output)
        return network

    monkeypatch.setattr(twin_module, "_products_in", coarse)
    twin_module._twin.cache_clear()
    found = encoder(digits, precision="auto")
    twin_module._twin.cache_clear()
    assert found.computation["precision"] == "float32"
    assert found.computation["precision_reason"] == "check-failed"
    assert found.computation["precision_following"] > checks.FOLLOWING  # type: ignore[operator]
    np.testing.assert_array_equal(found.sums, encoder(digits).sums)


def test_a_requested_precision_is_not_checked(tiny_case: Case) -> None:
    for precision in ("float32", "bfloat16"):
        facts = encoder(tiny_case, precision=precision).computation
        assert facts["precision"] == precision
        assert (facts["precision_reason"], facts["precision_noise"]) == ("requested", None)


def test_a_machine_without_bfloat16_does_not_try(
    tiny_case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "fast_precisions", lambda device: ())
    facts = encoder(tiny_case, precision="auto").computation
    assert (facts["precision"], facts["precision_reason"]) == ("float32", "slow-here")


def test_a_model_without_output_embeddings_takes_the_plain_way(
    planted: Any, case_of: CaseOf
) -> None:
    case = case_of(planted)
    found = encoder(case, precision="auto")
    assert (found.computation["precision"], found.computation["precision_reason"]) == (
        "float32",
        "no-twin",
    )
    np.testing.assert_array_equal(found.sums, encoder(case).sums)


def test_logits_that_are_no_product_of_the_states_take_the_plain_way(
    tiny_case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A family that scales its logits after the projection must not be explained by the unscaled ones."""
    straight = encoder(tiny_case)
    model = type(tiny_case.model)
    read_out = model._read_out  # type: ignore[attr-defined]

    def scaled(self: Any, states: torch.Tensor, hypothesis: Any) -> torch.Tensor:
        output = read_out(self, states, hypothesis)
        vocabulary = self.network.config.vocab_size
        return output * 3 if output.shape[-1] == vocabulary else output

    monkeypatch.setattr(model, "_read_out", scaled)
    found = encoder(tiny_case)
    assert not np.allclose(found.sums, straight.sums, rtol=0.1)
    monkeypatch.setattr(way, "twin", lambda model, dtype: None)
    np.testing.assert_array_equal(found.sums, encoder(tiny_case).sums)


def test_all_passes_are_counted(tiny_case: Case) -> None:
    metered = MeteredModel(tiny_case.model)
    encoder(replace(tiny_case, model=metered), 12)
    assert metered.passes.forward == 1 + 1 + 12  # clean, the twin's clean, masks
    metered = MeteredModel(tiny_case.model)
    encoder(replace(tiny_case, model=metered), 12, precision="auto")
    assert metered.passes.forward == 1 + 2 + 2 * checks.MASKS + 12


def test_the_twin_leaves_the_model_as_it_was(tiny_case: Case) -> None:
    model: Any = tiny_case.model
    before = model.logits(model.encode(tiny_case.features.values[None]), tiny_case.hypothesis)
    for dtype in (torch.float32, torch.bfloat16):
        found = twin_module.twin(model, dtype)
        assert found is not None
        assert found.dtype == dtype
    after = model.logits(model.encode(tiny_case.features.values[None]), tiny_case.hypothesis)
    assert torch.equal(before, after)
    assert model.network.proj_out.weight.dtype == torch.float32
    shared = twin_module.twin(model, torch.float32)
    assert shared is not None
    weights: Any = shared.model
    assert weights.network.model is model.network.model


# -- padding --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds per mask over frozen padding, then over exact; the real clock would make tests depend on the load."""
    seconds = [1.0, 2.0]
    times = iter(range(1000))
    monkeypatch.setattr(
        passes._Passes, "_seconds", lambda self, measure: seconds[next(times) % len(seconds)]
    )
    return seconds


def test_frozen_padding_is_not_taken_where_it_is_slower(digits: Case, clock: list[float]) -> None:
    clock[:] = [2.0, 1.0]
    found = frozen(digits)
    assert (found.computation["padding"], found.computation["padding_reason"]) == (
        "exact",
        "slower-here",
    )
    assert 0.99 <= found.computation["padding_check"] < 1  # type: ignore[operator]
    exact = spes_input(digits, Sampling(), masks=6, **INPUT)
    np.testing.assert_allclose(found.sums, exact.sums, rtol=1e-4, atol=1e-6)


def test_frozen_padding_is_taken_where_it_agrees(digits: Case) -> None:
    facts = frozen(digits).computation
    assert (facts["padding"], facts["padding_reason"]) == ("frozen", "check-passed")
    assert 0.99 <= facts["padding_check"] < 1  # type: ignore[operator]


def test_frozen_padding_is_refused_where_one_content_token_disagrees(
    digits: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_token_hears_padding(measure: Any) -> Any:
        def other(hidden: torch.Tensor) -> Any:
            shift = measure(hidden)
            wrong = shift.value.clone()
            wrong[:, digits.hypothesis.content[0]] = torch.rand(len(hidden))
            return replace(shift, value=wrong)

        return other

    agreement = checks.lowest_agreement

    def planted_failure(exact: Any, fast: Any, *rest: Any) -> float | None:
        return agreement(exact, one_token_hears_padding(fast), *rest)

    monkeypatch.setattr(checks, "lowest_agreement", planted_failure)
    found = frozen(digits)
    assert (found.computation["padding"], found.computation["padding_reason"]) == (
        "exact",
        "check-failed",
    )
    assert found.computation["padding_check"] < 0.99  # type: ignore[operator]
    exact = spes_input(digits, Sampling(), masks=6, **INPUT)
    np.testing.assert_allclose(found.sums, exact.sums, rtol=1e-4, atol=1e-6)


def test_a_clip_that_fills_the_window_has_no_padding_to_freeze(
    tiny: Any, case_of: CaseOf, clip: Callable[..., np.ndarray]
) -> None:
    facts = frozen(case_of(tiny, clip(2.0, 3))).computation
    assert (facts["padding"], facts["padding_reason"]) == ("exact", "no-padding")


def test_a_family_without_frozen_passes_is_bad_usage(planted: Any, case_of: CaseOf) -> None:
    with pytest.raises(UsageError, match="padding=frozen"):
        frozen(case_of(planted))


# -- the check ------------------------------------------------------------------------------------


def test_the_lowest_token_decides_by_hand() -> None:
    exact = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    other = np.array([[1.0, 3.0, 5.0], [0.0, 2.0, 1.0]])
    assert checks.lowest_correlation(exact[:1], other[:1]) == pytest.approx(1)
    assert checks.lowest_correlation(exact, other) == pytest.approx(0.5)


@pytest.mark.parametrize("row", [[1.0, 1.0, 1.0], [0.0, np.nan, 1.0], [0.0, np.inf, 1.0]])
def test_a_token_that_cannot_be_compared_gives_no_agreement(row: list[float]) -> None:
    straight = np.array([[0.0, 1.0, 2.0]])
    assert checks.lowest_correlation(straight, np.array([row])) is None
    assert checks.lowest_correlation(np.array([row]), straight) is None
