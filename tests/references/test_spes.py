from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from xbench.case import Case
from xbench.errors import UsageError, UtteranceError
from xbench.hiding.batching import Batched, Start, batched_measure
from xbench.hiding.cells import replaced
from xbench.hiding.effect import Clean, Shift, divergence, from_logits, kl_divergence
from xbench.hiding.masks import draw_mask, mask_key
from xbench.hiding.segments import Segmentation, frame_segments
from xbench.references import estimation
from xbench.references.estimation import Recipe, Sampling
from xbench.references.reference import Reference
from xbench.references.sampled import SampledReference, restore
from xbench.references.spes import spes_encoder, spes_input

CaseOf = Callable[..., Case]
INPUT: dict[str, Any] = {
    "p": 0.5,
    "rates": "400+500+600",
    "compactness": 0.1,
    "sigma": 0.0,
    "cap_seconds": 7.5,
}


@pytest.fixture
def planted_case(planted: Any, case_of: CaseOf) -> Case:
    return case_of(planted)


@pytest.fixture
def tiny_case(tiny: Any, case_of: CaseOf, clip: Callable[..., np.ndarray]) -> Case:
    return case_of(tiny, clip(0.6, 3))


def input_map(case: Case, masks: int, sampling: Sampling | None = None) -> SampledReference:
    return spes_input(case, sampling or Sampling(), masks=masks, **INPUT)


def encoder_map(case: Case, masks: int, sampling: Sampling | None = None) -> SampledReference:
    return spes_encoder(case, sampling or Sampling(), masks=masks, p=0.7)


# -- divergence -----------------------------------------------------------------------------------


def test_divergence_is_that_of_scipy() -> None:
    torch.manual_seed(0)
    log_p = torch.randn(3, 7).log_softmax(-1)
    log_q = torch.randn(5, 3, 7).log_softmax(-1)
    expected = entropy(log_p.exp()[None].numpy(), log_q.exp().numpy(), axis=-1)
    np.testing.assert_allclose(kl_divergence(log_p, log_q).numpy(), expected, rtol=1e-4)


def test_divergence_by_hand_goes_from_clean_to_masked() -> None:
    # KL((1/2, 1/2) || (1/4, 3/4)) = ln(2/sqrt(3)); the other way round it is 0.1308.
    log_p = torch.tensor([[0.5, 0.5]]).log()
    log_q = torch.tensor([[[0.25, 0.75]]]).log()
    assert kl_divergence(log_p, log_q).item() == pytest.approx(math.log(2 / math.sqrt(3)), abs=1e-6)


def test_divergence_of_equal_distributions_is_zero_and_never_negative() -> None:
    log_p = (10 * torch.randn(4, 50)).log_softmax(-1)
    divergence = kl_divergence(log_p, log_p.expand(6, -1, -1))
    assert (divergence >= 0).all()
    assert divergence.max() < 1e-6


# -- the estimate ---------------------------------------------------------------------------------


def enumerated(monkeypatch: pytest.MonkeyPatch, masks: list[tuple[int, ...]]) -> None:
    def draw(key: int, index: int, size: int, p: float, *, mirrored: bool) -> np.ndarray:
        return np.array(masks[index], dtype=bool)

    monkeypatch.setattr("xbench.hiding.masks.draw_mask", draw)


def every_mask(planted: Any, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return all masks [mask, frame] and their divergences [mask, token], computed in float64."""
    frames = case.features.frames
    masks = np.array(list(product((0, 1), repeat=frames)))
    encoded = planted.encode(case.features.values[None]).double()
    keep = torch.ones(len(masks), encoded.shape[1], dtype=torch.float64)
    keep[:, :frames] = torch.from_numpy(1 - masks).double()
    clean = planted.logits(encoded, case.hypothesis).softmax(-1).numpy()
    masked = planted.logits(encoded * keep[..., None], case.hypothesis).softmax(-1).numpy()
    return masks, entropy(clean, masked, axis=-1)


def test_the_estimate_lies_within_its_standard_error_of_the_enumeration(
    planted: Any, case_of: CaseOf
) -> None:
    model = replace(planted, total=8, frames=((1, 2), (4, 5, 6), (7,)), gain=3.0)
    case, p, n = case_of(model), 0.7, 4000
    masks, divergence = every_mask(model, case)
    hidden = masks.sum(1)
    weights = p**hidden * (1 - p) ** (8 - hidden)
    assert weights.sum() == pytest.approx(1)
    joint = weights[:, None] * masks
    mass = joint.sum(0)
    expected = divergence.T @ joint / mass
    variance = (divergence**2).T @ joint / mass - expected**2

    reference = encoder_map(case, n)
    error = np.sqrt(variance / reference.counts.sum(0))
    deviation = (reference.mean() - expected) / np.maximum(error, 1e-6)
    assert np.abs(deviation).max() < 4
    # Frames that matter differ from the others by far more than the error, so this can fail.
    assert (expected.max(1) - expected.min(1) > 8 * error.max(1)).all()
    for index in (0, 1):
        half_error = np.sqrt(variance / reference.counts[index])
        assert np.abs((reference.half(index) - expected) / np.maximum(half_error, 1e-6)).max() < 4


def test_the_weighted_formula_is_exact_for_two_frames(
    planted: Any, case_of: CaseOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(planted, total=2, frames=((0,), (0, 1)), gain=2.0)
    case = case_of(model)
    # p = 1/4: of 16 masks, 9 hide nothing, 3 each hide one frame, 1 hides both.
    enumerated(monkeypatch, [(0, 0)] * 9 + [(1, 0)] * 3 + [(0, 1)] * 3 + [(1, 1)])
    reference = spes_encoder(case, Sampling(), masks=16, p=0.25)

    def kl(loud: float) -> float:
        """Divergence when a logit of 2 among five zeros falls to 2 * loud."""
        clean, masked = math.exp(2) + 5, math.exp(2 * loud) + 5
        return math.exp(2) / clean * (2 - 2 * loud) - math.log(clean / masked)

    # Token 0 hears frame 0 alone; token 1 hears half of what it needs when one frame is hidden.
    expected = [
        [kl(0), (3 * kl(1) + kl(0)) / 4],
        [(3 * kl(0.5) + kl(0)) / 4, (3 * kl(0.5) + kl(0)) / 4],
    ]
    np.testing.assert_allclose(reference.mean(), expected, rtol=1e-5)
    assert reference.counts.sum(0).tolist() == [4, 4]


def test_levels_are_added_up_before_the_division() -> None:
    # One cell, hidden twice on level 0 (sum 3) and six times on level 1 (sum 1): 4/8, not 3/2 + 1/6.
    segmentation = Segmentation(np.zeros((2, 1), dtype=np.int32), (1, 1))
    reference = SampledReference(
        segmentation,
        sums=np.array([[[3.0, 1.0]], [[0.0, 0.0]]]),
        counts=np.array([[2, 6], [0, 0]]),
        masks=(8, 0),
        kept=np.ones(1),
        neutral="none",
    )
    assert reference.mean().tolist() == [[0.5]]
    assert reference.half(0).tolist() == [[0.5]]
    assert reference.half(1).tolist() == [[0.0]]  # never hidden: zero, not NaN


# -- what it finds --------------------------------------------------------------------------------


def top(values: np.ndarray, count: int) -> set[int]:
    return set(np.argsort(values)[-count:].tolist())


def test_encoder_reference_finds_the_planted_frames(planted: Any, planted_case: Case) -> None:
    reference = encoder_map(planted_case, 600)
    for values in (reference.mean(), reference.half(0), reference.half(1)):
        assert [top(row, 2) for row in values] == [set(frames) for frames in planted.frames]


def test_input_reference_finds_the_planted_cells(planted: Any, planted_case: Case) -> None:
    relevance = input_map(planted_case, 1800).mean()
    assert relevance.shape == (3, 24, 12)
    for row, frames in zip(relevance, planted.frames, strict=True):
        loud = [melframe for frame in frames for melframe in (2 * frame, 2 * frame + 1)]
        # A mean over everything else leaves the planted frames and the planted band.
        assert top(row[:, list(planted.band)].mean(1), len(loud)) == set(loud)
        assert top(row[loud].mean(0), len(planted.band)) == set(planted.band)
        inside = np.zeros(row.shape, dtype=bool)
        inside[np.ix_(loud, list(planted.band))] = True
        assert row[inside].mean() > row[~inside].mean() + 4 * row[~inside].std()


def test_hidden_frames_become_zero_and_padding_is_never_touched(
    planted: Any, planted_case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = planted_case.features.values + torch.arange(30.0)[:, None]
    case = replace(planted_case, features=replace(planted_case.features, values=noisy))
    seen: list[torch.Tensor] = []

    def logits(self: Any, encoded: torch.Tensor, hypothesis: Any) -> torch.Tensor:
        seen.append(encoded)
        return torch.zeros(len(encoded), 3, 6)

    monkeypatch.setattr(type(planted), "logits", logits)
    encoder_map(case, 12, Sampling(batch_size=12))
    clean = seen[0]
    (batch,) = (encoded for encoded in seen if len(encoded) == 12)
    key = mask_key(0, case.key)
    for index, encoded in enumerate(batch):
        hidden = draw_mask(key, index, 12, 0.7)
        assert (encoded[:12][hidden] == 0).all()
        torch.testing.assert_close(encoded[:12][~hidden], clean[0, :12][~hidden])
        torch.testing.assert_close(encoded[12:], clean[0, 12:])


def test_hidden_cells_become_the_mean_of_their_channel_over_valid_frames(
    planted: Any, planted_case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    noisy = planted_case.features.values + torch.randn(30, 12)
    case = replace(planted_case, features=replace(planted_case.features, values=noisy))
    seen: list[torch.Tensor] = []

    def encode(self: Any, values: torch.Tensor) -> torch.Tensor:
        seen.append(values)
        return values.unflatten(1, (-1, 2)).mean(2)

    monkeypatch.setattr(type(planted), "encode", encode)
    reference = input_map(case, 12, Sampling(batch_size=12))
    (batch,) = (values for values in seen if len(values) == 12)
    neutral = noisy[:24].mean(0).expand(24, -1)
    key, segmentation = mask_key(0, case.key), reference.segmentation
    for index, values in enumerate(batch):
        level = index % 3
        hidden = draw_mask(key, index, segmentation.sizes[level], 0.5)
        cells = torch.from_numpy(hidden[segmentation.labels[level]])
        torch.testing.assert_close(values[:24][cells], neutral[cells])
        torch.testing.assert_close(values[:24][~cells], noisy[:24][~cells])
        torch.testing.assert_close(values[24:], noisy[24:])
    assert reference.neutral == "mean of each mel channel over the valid frames"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_hiding_takes_one_value_or_the_other_bit_for_bit(
    planted_case: Case, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    values = torch.randn(30, 12)
    hidden = torch.rand(3, 24, 12) < 0.5
    expected = torch.where(hidden, values[:24].mean(0).to(dtype), values[:24].to(dtype))
    neutral = values[:24].mean(0).to(dtype)
    assert torch.equal(replaced(values[:24].to(dtype), neutral, hidden), expected)


@pytest.mark.parametrize("estimate", [encoder_map, input_map])
def test_unmasked_copies_in_a_mixed_batch_diverge_by_nothing(
    tiny_case: Case, estimate: Callable[..., SampledReference], monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(key: int, index: int, size: int, p: float, *, mirrored: bool) -> np.ndarray:
        return draw_mask(key, index, size, p if index % 2 else 0.0)

    found: list[torch.Tensor] = []
    measure = Batched.__call__

    def keep(self: Batched[Shift], hidden: torch.Tensor) -> Shift:
        shift = measure(self, hidden)
        if isinstance(shift, Shift):  # not the logits that `hiding.trust` compares, once per model
            found.append(shift.value)
        return shift

    monkeypatch.setattr("xbench.hiding.masks.draw_mask", draw)
    monkeypatch.setattr(Batched, "__call__", keep)
    estimate(tiny_case, 16, Sampling(batch_size=16))
    (divergence,) = found
    assert divergence[::2].max() < 1e-6
    assert divergence[1::2].max(1).values.min() > 1e-3


# -- bookkeeping ----------------------------------------------------------------------------------


@pytest.mark.parametrize("estimate", [encoder_map, input_map])
def test_the_batch_size_changes_nothing(
    tiny_case: Case, estimate: Callable[..., SampledReference]
) -> None:
    one = estimate(tiny_case, 36, Sampling(batch_size=1))
    many = estimate(tiny_case, 36, Sampling(batch_size=16))
    found = estimate(tiny_case, 36, Sampling())
    for other in (many, found):
        np.testing.assert_array_equal(one.counts, other.counts)
        for ours, theirs in ((one.mean(), other.mean()), (one.half(1), other.half(1))):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * ours.max())
        np.testing.assert_array_equal(one.kept, other.kept)


@pytest.mark.parametrize("estimate", [encoder_map, input_map])
def test_the_seed_decides(planted_case: Case, estimate: Callable[..., SampledReference]) -> None:
    first, again, other = (estimate(planted_case, 60, Sampling(seed=s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.sums, again.sums)
    assert np.abs(first.mean() - other.mean()).max() > 0.01
    renamed = estimate(replace(planted_case, key="another clip"), 60, Sampling(seed=3))
    assert (renamed.counts != first.counts).any()


@pytest.mark.parametrize(("estimate", "levels"), [(encoder_map, 1), (input_map, 3)])
def test_halves_hold_alternate_masks_of_every_level(
    planted_case: Case, estimate: Callable[..., SampledReference], levels: int
) -> None:
    masks = 44  # not a multiple of 2 * 3
    reference = estimate(planted_case, masks, Sampling(batch_size=7))
    key, p = mask_key(0, planted_case.key), 0.7 if levels == 1 else 0.5
    sizes = reference.segmentation.sizes
    counts = [np.concatenate([np.zeros(size, dtype=int) for size in sizes]) for _ in (0, 1)]
    per_half = [[0] * levels, [0] * levels]
    for index in range(masks):
        level, half = index % levels, (index // levels) % 2
        start = sum(sizes[: reference.segmentation.distinct[level]])  # equal levels are one
        counts[half][start : start + sizes[level]] += draw_mask(key, index, sizes[level], p)
        per_half[half][level] += 1
    np.testing.assert_array_equal(reference.counts, counts)
    assert reference.masks == (sum(per_half[0]), sum(per_half[1]))
    assert sum(reference.masks) == masks
    assert all(abs(a - b) <= 1 for a, b in zip(*per_half, strict=True))


def test_halves_add_up_to_the_whole(planted_case: Case) -> None:
    reference = encoder_map(planted_case, 50)
    weighted = sum(reference.half(i) * reference.counts[i] for i in (0, 1))
    np.testing.assert_allclose(weighted / reference.counts.sum(0), reference.mean(), rtol=1e-12)
    assert np.abs(reference.half(0) - reference.half(1)).max() > 0.01


def test_half_zero_holds_the_even_masks(
    planted: Any, case_of: CaseOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(planted, total=2, frames=((0,),))
    enumerated(monkeypatch, [(1, 0), (0, 1)] * 3)
    reference = spes_encoder(case_of(model), Sampling(), masks=6, p=0.5)
    assert reference.counts.tolist() == [[3, 0], [0, 3]]
    assert reference.half(0)[0, 0] > 0.5
    np.testing.assert_array_equal(reference.half(1), [[0.0, 0.0]])


def test_memory_does_not_grow_with_the_number_of_masks(planted_case: Case) -> None:
    few, many = (input_map(planted_case, masks) for masks in (12, 240))
    for name in ("sums", "counts", "kept"):
        assert getattr(few, name).nbytes == getattr(many, name).nbytes
    assert few.counts.sum() < many.counts.sum()


def test_more_masks_extend_fewer(planted_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []

    def draw(key: int, index: int, size: int, p: float, *, mirrored: bool) -> np.ndarray:
        mask = draw_mask(key, index, size, p)
        drawn.append(mask.tobytes())
        return mask

    monkeypatch.setattr("xbench.hiding.masks.draw_mask", draw)
    encoder_map(planted_case, 10)
    few = drawn.copy()
    drawn.clear()
    encoder_map(planted_case, 30)
    assert drawn[:10] == few


def test_kept_is_the_share_of_masks_that_leave_the_token_first(
    planted: Any, case_of: CaseOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(planted, total=2, frames=((0,), (1,)))
    enumerated(monkeypatch, [(0, 0), (1, 0), (1, 0), (1, 1)])
    reference = spes_encoder(case_of(model), Sampling(), masks=4, p=0.5)
    # With its frame hidden all logits tie, and the first vocabulary item wins.
    assert reference.kept.tolist() == [0.25, 0.75]


def test_progress_counts_every_mask(planted_case: Case) -> None:
    steps: list[int] = []
    encoder_map(planted_case, 25, Sampling(batch_size=10, progress=steps.append))
    assert steps == [10, 10, 5]


def test_a_single_token_hypothesis_has_a_reference(planted: Any, case_of: CaseOf) -> None:
    case = case_of(replace(planted, frames=((3, 4),)))
    assert encoder_map(case, 300).mean().shape == (1, 12)
    assert top(encoder_map(case, 300).mean()[0], 2) == {3, 4}
    assert input_map(case, 12).mean().shape == (1, 24, 12)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("estimate", [encoder_map, input_map])
def test_logits_that_are_not_finite_refuse_the_utterance(
    planted: Any,
    planted_case: Case,
    estimate: Callable[..., SampledReference],
    bad: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def logits(self: Any, encoded: torch.Tensor, hypothesis: Any) -> torch.Tensor:
        values = torch.zeros(len(encoded), 3, 6)
        values[-1, 1, 2] = bad
        return values

    monkeypatch.setattr(type(planted), "logits", logits)
    with pytest.raises(UtteranceError, match="not finite") as caught:
        estimate(planted_case, 12)
    assert caught.value.reason == "non-finite-divergence"


def test_a_vanishing_clean_probability_is_no_failure() -> None:
    # log p = -inf where p is 0 would make 0 * inf; logits never are -inf, only very low.
    log_p = torch.tensor([[0.0, -500.0]]).log_softmax(-1)
    log_q = torch.tensor([[[-500.0, 0.0]]]).log_softmax(-1)
    assert kl_divergence(log_p, log_q).item() == pytest.approx(500)


@pytest.mark.parametrize("rates", ["", "400+", "x", "400,500", "-1", "0+400"])
def test_rates_that_are_no_numbers_are_bad_usage(planted_case: Case, rates: str) -> None:
    with pytest.raises(UsageError, match="positive numbers joined by"):
        spes_input(planted_case, Sampling(), masks=12, **INPUT | {"rates": rates})


def test_the_estimate_takes_any_segmentation(planted_case: Case) -> None:
    def perturbed(hidden: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(hidden), 3, 6)
        logits[:, 0, 1] = 4.0 * ~hidden[:, 2]
        return logits

    clean = perturbed(torch.zeros(1, 5, dtype=torch.bool))[0]
    tokens = torch.tensor(planted_case.hypothesis.tokens)
    reference = estimation.estimate(
        batched_measure(from_logits(divergence, Clean(clean, tokens), perturbed), Start(64)),
        frame_segments(5),
        planted_case,
        Sampling(),
        Recipe(200, 0.5),
        neutral="x",
    )
    assert reference.mean()[0].argmax() == 2
    np.testing.assert_array_equal(reference.mean()[1:], np.zeros((2, 5)))


# -- what every reference can do ------------------------------------------------------------------


def test_a_stored_reference_is_made_again_bit_for_bit(planted_case: Case) -> None:
    made = input_map(planted_case, 24)
    assert isinstance(made, Reference)
    arrays, facts = made.to_artefact()
    again = restore(arrays, json.loads(json.dumps(facts)))
    for before, after in zip(
        (made.mean(), *made.halves()), (again.mean(), *again.halves()), strict=True
    ):
        np.testing.assert_array_equal(before, after)
    assert again.facts().masks == made.facts().masks == (12, 12)
    assert again.facts().computation == made.facts().computation
