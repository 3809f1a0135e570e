"""Perturbation methods, against brute force, enumeration and exact Shapley values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench.case import Case
from xbench.hiding.masks import draw_mask, mask_key
from xbench.hiding.segments import grid_segments
from xbench.methods import perturbation
from xbench.methods.target import Scores
from xbench.models.device import CPU
from xbench.references import contender, spes
from xbench.references.estimation import Sampling

SPACES = ("input", "encoder")


@pytest.fixture
def case(tiny: Any, case_of: Callable[..., Case], clip: Callable[..., Any]) -> Case:
    return case_of(tiny, clip(1.27, 3))


@pytest.fixture
def easy(planted: Any, case_of: Callable[..., Case]) -> Case:
    return case_of(planted)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how many settings are evaluated."""
    counted: list[int] = []
    plain = perturbation.Scored.__call__

    def call(self: perturbation.Scored, hidden: Tensor) -> Tensor:
        counted.append(len(hidden))
        return plain(self, hidden)

    monkeypatch.setattr(perturbation.Scored, "__call__", call)
    return counted


def on_frames(values: Tensor, space: str) -> Tensor:
    return values if space == "input" else values[..., 0]


def check(found: Tensor, expected: Tensor, tolerance: float = 1e-3) -> None:
    assert found.shape == expected.shape
    assert (expected.abs().flatten(1).amax(1) > 0).sum() >= 2
    for row, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert (a - b).abs().max() <= tolerance * b.abs().max() + 1e-6, f"row {row}"


# -- windows --------------------------------------------------------------------------------------


def test_occlusion_of_a_planted_model_by_hand(easy: Case) -> None:
    # Windows of 2 frames, 2 apart. Token 0 needs frames 1 and 2: windows (0, 1) and (2, 3) each take 3 of 6.
    found = perturbation.occlusion(
        easy, space="encoder", target="logit", baseline="zero", window=2, step=2
    )
    assert found[0].tolist() == pytest.approx([3, 3, 3, 3, *[0] * 8])
    assert found[1].tolist() == pytest.approx([*[0] * 4, 3, 3, 3, 3, *[0] * 4])


def test_overlapping_windows_are_averaged(easy: Case) -> None:
    # Windows of 2 frames, 1 apart, cost token 0 (frames 1, 2): 3 at (0,1), 6 at (1,2), 3 at (2,3).
    found = perturbation.occlusion(
        easy, space="encoder", target="logit", baseline="zero", window=2, step=1
    )
    assert found[0].tolist() == pytest.approx([3, 4.5, 4.5, 1.5, *[0] * 8])


@pytest.mark.parametrize("space", SPACES)
def test_occlusion_is_the_mean_loss_over_windows(case: Case, space: Any) -> None:
    scores = Scores.of(case, space, "log-probability")
    frames, channels = scores.point.shape
    bands = 3 if space == "input" else 1
    height, window, step = math.ceil(channels / bands), 10, 7
    clean = scores.evaluate(scores.point[None])[0]
    total, weight = torch.zeros(len(clean), frames, channels), torch.zeros(frames, channels)
    start = 0
    while True:
        for low in range(0, channels, height):
            changed = scores.point.clone()
            part = (slice(start, start + window), slice(low, low + height))
            changed[part] = scores.baseline("channel-mean")[part]
            total[:, *part] += (clean - scores.evaluate(changed[None])[0])[:, None, None]
            weight[part] += 1
        if start + window >= frames:
            break
        start += step
    found = perturbation.occlusion(
        case,
        space=space,
        target="log-probability",
        baseline="channel-mean",
        window=window,
        step=step,
        bands=bands,
    )
    check(found, on_frames(total / weight, space))


def test_a_window_longer_than_the_clip_covers_it(easy: Case) -> None:
    found = perturbation.occlusion(
        easy, space="encoder", target="logit", baseline="zero", window=99, step=50
    )
    torch.testing.assert_close(found, torch.full((3, 12), 6.0))


# -- groups ---------------------------------------------------------------------------------------


def grid(frames: int, channels: int, in_time: int, bands: int) -> Tensor:
    return torch.from_numpy(grid_segments(frames, channels, in_time, bands).labels[0]).long()


@pytest.mark.parametrize("space", SPACES)
def test_feature_ablation_is_the_loss_without_each_group(
    case: Case, passes: list[int], space: Any
) -> None:
    bands = 2 if space == "input" else 1
    found = perturbation.feature_ablation(
        case, space=space, target="logit", baseline="channel-mean", segments=5, bands=bands
    )
    assert sum(passes) == 1 + 5 * bands, "one pass per group and one clean, for all tokens"
    scores = Scores.of(case, space, "logit")
    labels = grid(*scores.point.shape, 5, bands)
    clean = scores.evaluate(scores.point[None])[0]
    expected = torch.zeros(len(clean), *scores.point.shape)
    for group in range(5 * bands):
        changed = torch.where(labels == group, scores.baseline("channel-mean"), scores.point)
        loss = clean - scores.evaluate(changed[None])[0]
        expected[:, labels == group] = loss[:, None]
    check(found, on_frames(expected, space))


def exact_shapley(scores: Scores, groups: int) -> Tensor:
    """Shapley values by their definition: all coalitions."""
    labels = grid(*scores.point.shape, groups, 1)
    off = scores.baseline("channel-mean")

    def value(coalition: frozenset[int]) -> Tensor:
        kept = torch.isin(labels, torch.tensor(sorted(coalition), dtype=torch.long))
        return scores.evaluate(torch.where(kept, scores.point, off)[None])[0]

    everything = range(groups)
    values = {
        frozenset(c): value(frozenset(c))
        for size in range(groups + 1)
        for c in combinations(everything, size)
    }
    shapley = torch.zeros(groups, len(scores.cells.case.hypothesis.tokens))
    for group in everything:
        for coalition, worth in values.items():
            if group not in coalition:
                size = len(coalition)
                weight = math.factorial(size) * math.factorial(groups - size - 1)
                gain = values[coalition | {group}] - worth
                shapley[group] += weight / math.factorial(groups) * gain
    return shapley.T


@pytest.mark.parametrize("space", SPACES)
def test_kernel_shap_finds_the_exact_shapley_values_of_six_segments(
    case: Case, passes: list[int], space: Any
) -> None:
    found = perturbation.kernel_shap(
        case,
        space=space,
        target="log-probability",
        baseline="channel-mean",
        segments=6,
        samples=1500,
        seed=0,
    )
    assert sum(passes) <= 64, "each of the 64 settings is evaluated once, for all tokens"
    scores = Scores.of(case, space, "log-probability")
    expected = exact_shapley(scores, 6)
    labels = grid(*scores.point.shape, 6, 1)
    for row, (a, b) in enumerate(zip(found, expected[:, labels], strict=True)):
        exact = b if space == "input" else b[:, 0]
        assert (a - exact).abs().max() <= 0.06 * exact.abs().max() + 1e-6, f"row {row}"
    # They sum to the whole difference.
    ends = scores.evaluate(torch.stack([scores.point, scores.baseline("channel-mean")]))
    first = torch.stack([found[:, labels[:, 0] == g].flatten(1)[:, 0] for g in range(6)], 1)
    torch.testing.assert_close(first.sum(1), ends[0] - ends[1], rtol=0.01, atol=0.01)


def test_kernel_shap_of_a_single_group_is_the_whole_difference(easy: Case) -> None:
    found = perturbation.kernel_shap(
        easy, space="encoder", target="logit", baseline="zero", segments=1, samples=8, seed=0
    )
    torch.testing.assert_close(found, torch.full((3, 12), 6.0))


def test_lime_of_a_linear_model_gives_its_weights(easy: Case, passes: list[int]) -> None:
    # Four groups of 3 frames hold frames (1, 2 of token 0), (5), (6), (9, 10 of token 2).
    found = perturbation.lime(
        easy,
        space="encoder",
        target="logit",
        baseline="zero",
        segments=4,
        samples=60,
        penalty=1e-6,
        seed=0,
    )
    weights = [[6, 0, 0, 0], [0, 3, 3, 0], [0, 0, 0, 6]]
    expected = torch.tensor(weights).float().repeat_interleave(3, dim=1)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert sum(passes) <= 16


def test_a_large_penalty_leaves_nothing(easy: Case) -> None:
    found = perturbation.lime(
        easy,
        space="input",
        target="logit",
        baseline="zero",
        segments=4,
        samples=60,
        penalty=100.0,
        seed=0,
    )
    assert not found.any()


def test_switches_see_the_baseline_where_a_group_is_off(easy: Case) -> None:
    scored = perturbation.Scored.of(easy, "encoder", "logit", "zero")
    switches = perturbation.Switches(scored, grid(12, 1, 4, 1)[:, 0])
    settings = torch.tensor([[1.0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
    expected = torch.tensor([[6.0, 6, 6], [0, 6, 6], [0, 0, 0], [6, 6, 6]])
    torch.testing.assert_close(switches(settings), expected)
    assert switches.one_token(settings, 0).tolist() == [6, 0, 0, 6]
    assert len(switches.seen) == 3


# -- RISE -----------------------------------------------------------------------------------------


def test_rise_over_all_masks_is_the_conditional_mean(
    easy: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Over all 16 masks of 4 groups, E[f | group kept] - E[f] = weight / 2 for a linear model.
    settings = list(product([0.0, 1.0], repeat=4))

    def enumerated(key: str, seed: int, index: int, frames: int, channels: int, *_: Any) -> Any:
        mask = np.repeat(np.array(settings[index], dtype=np.float32), frames // 4)
        return np.repeat(mask[:, None], channels, axis=1)

    monkeypatch.setattr(perturbation, "smooth_mask", enumerated)
    for space in SPACES:
        found = perturbation.rise(
            easy,
            space=space,  # type: ignore[arg-type]
            target="logit",
            baseline="zero",
            samples=16,
            p=0.5,
            cell=3,
            seed=0,
        )
        weights = torch.tensor([[6.0, 0, 0, 0], [0, 3, 3, 0], [0, 0, 0, 6]]) / 2
        expected = weights.repeat_interleave(found.shape[1] // 4, dim=1)
        if space == "input":
            expected = expected[..., None].expand_as(found)
        torch.testing.assert_close(found, expected)


def test_rise_by_its_sums(case: Case) -> None:
    options: Any = {"target": "log-probability", "baseline": "channel-mean"}
    found = perturbation.rise(
        case, space="input", **options, samples=40, p=0.4, cell=9, seed=2, bands=3
    )
    scores = Scores.of(case, "input", "log-probability")
    masks = torch.stack(
        [
            torch.from_numpy(
                perturbation.smooth_mask(case.key, 2, n, *scores.point.shape, 9, 3, 0.4)
            )
            for n in range(40)
        ]
    )
    values = torch.stack(
        [
            scores.evaluate((m * scores.point + (1 - m) * scores.baseline("channel-mean"))[None])[0]
            for m in masks
        ]
    )
    mean = torch.einsum("ni,ntc->itc", values, masks) / masks.sum(0)
    check(found, mean - values.mean(0)[:, None, None], 1e-2)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("p", [0.2, 0.5])
def test_smooth_masks_are_on_with_probability_p_everywhere(bands: int, p: float) -> None:
    masks = np.stack([perturbation.smooth_mask("a", 0, n, 20, 8, 5, bands, p) for n in range(3000)])
    assert masks.min() == 0
    assert masks.max() == pytest.approx(1)
    assert masks.mean(0) == pytest.approx(np.full((20, 8), p), abs=0.04)
    # Linear between grid points: a cell apart, at most one whole step.
    assert np.abs(np.diff(masks, axis=1)).max() <= 1 / 5 + 1e-5
    if bands == 1:
        assert (masks == masks[:, :, :1]).all()


def test_smooth_masks_follow_from_audio_seed_and_index_alone() -> None:
    draw = perturbation.smooth_mask
    first = draw("a", 0, 7, 20, 8, 5, 2, 0.5)
    assert np.array_equal(first, draw("a", 0, 7, 20, 8, 5, 2, 0.5))
    for other in (("b", 0, 7), ("a", 1, 7), ("a", 0, 8)):
        assert not np.array_equal(first, draw(*other, 20, 8, 5, 2, 0.5))


def test_rise_does_not_depend_on_the_batch_size(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: Any = {"target": "logit", "baseline": "zero", "samples": 9, "p": 0.5, "cell": 8}
    whole = perturbation.rise(case, space="encoder", seed=0, **options)
    monkeypatch.setattr("xbench.hiding.batching.device_of", lambda device: replace(CPU, masks=2))
    check(perturbation.rise(case, space="encoder", seed=0, **options), whole)


# -- SPES as a contender --------------------------------------------------------------------------

SLIC = {"p": 0.5, "rates": "40+60", "compactness": 0.1, "sigma": 0.0, "cap_seconds": 7.5}


def test_contender_is_the_estimator_under_a_key_of_its_own(case: Case) -> None:
    own = replace(case, key=f"contender:{case.key}")
    expected = spes.spes_encoder(own, Sampling(3), masks=30, p=0.7).mean()
    found = contender.spes_encoder(case, masks=30, p=0.7, seed=3)
    torch.testing.assert_close(found, torch.from_numpy(expected).float())
    expected = spes.spes_input(own, Sampling(3), masks=30, **SLIC).mean()  # type: ignore[arg-type]
    found = contender.spes_input(case, masks=30, seed=3, **SLIC)  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.from_numpy(expected).float())
    assert not np.allclose(found, spes.spes_input(case, Sampling(3), masks=30, **SLIC).mean())  # type: ignore[arg-type]


def test_contender_and_reference_never_share_a_stream() -> None:
    # Philox streams are the same only under one key; references have hexadecimal keys.
    audio = "0123456789abcdef" * 4
    seeds = range(500)
    references = {mask_key(seed, audio) for seed in seeds}
    contenders = {mask_key(seed, f"contender:{audio}") for seed in seeds}
    assert len(references) == len(contenders) == 500
    assert references.isdisjoint(contenders)


def test_masks_of_contender_and_reference_are_independent() -> None:
    drawn = {
        key: np.stack([draw_mask(mask_key(0, key), n, 50, 0.5) for n in range(400)])
        for key in ("clip", "contender:clip")
    }
    reference, own = drawn.values()
    assert not {m.tobytes() for m in reference} & {m.tobytes() for m in own}
    assert abs(np.corrcoef(reference.ravel(), own.ravel())[0, 1]) < 4 / math.sqrt(400 * 50)


def test_contender_finds_what_the_planted_model_needs(easy: Case) -> None:
    found = contender.spes_encoder(easy, masks=400, p=0.5, seed=0)
    for row, frames in enumerate(((1, 2), (5, 6), (9, 10))):
        assert set(found[row].topk(2).indices.tolist()) == set(frames)
