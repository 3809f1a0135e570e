from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from xbench.hiding.masks import draw_mask, mask_key


def test_a_mask_follows_from_seed_utterance_and_index_alone() -> None:
    first = draw_mask(mask_key(0, "clip"), 7, 50, 0.5)
    np.random.seed(3)  # global state must not matter
    for index in (0, 99, 7):
        again = draw_mask(mask_key(0, "clip"), index, 50, 0.5)
    np.testing.assert_array_equal(first, again)


def test_masks_are_the_same_in_another_process() -> None:
    code = (
        "from xbench.hiding.masks import *; "
        "print(draw_mask(mask_key(5, 'ütterance'), 12, 40, 0.3).astype(int).tolist())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = draw_mask(mask_key(5, "ütterance"), 12, 40, 0.3).astype(int).tolist()
    assert run.stdout.strip() == str(here)


PINNED = ".#.#...##.#.....#..##.#."


def test_the_stream_is_pinned() -> None:
    # A change here changes every published reference: raise the references' versions with it.
    drawn = draw_mask(mask_key(0, "pinned"), 3, 24, 0.5)
    assert "".join("#" if cell else "." for cell in drawn) == PINNED


def test_every_seed_utterance_and_index_has_another_mask() -> None:
    masks = {
        draw_mask(mask_key(seed, utterance), index, 64, 0.5).tobytes()
        for seed in range(3)
        for utterance in ("a", "b", "1:a")
        for index in range(100)
    }
    assert len(masks) == 900


def test_seed_and_utterance_do_not_run_together() -> None:
    assert mask_key(1, "1:a") != mask_key(11, ":a")
    assert mask_key(1, "2") != mask_key(12, "")


@pytest.mark.parametrize("p", [0.3, 0.5, 0.7])
def test_the_share_of_masked_segments_is_p(p: float) -> None:
    key = mask_key(0, "share")
    masks = np.stack([draw_mask(key, index, 50, p) for index in range(2000)])
    error = np.sqrt(p * (1 - p) / masks.size)
    assert abs(masks.mean() - p) < 4 * error
    per_segment = np.abs(masks.mean(0) - p) / np.sqrt(p * (1 - p) / len(masks))
    assert per_segment.max() < 4.5
    # Masks are independent of one another: neighbours agree as often as chance says.
    agreement = (masks[1:] == masks[:-1]).mean()
    assert agreement == pytest.approx(p**2 + (1 - p) ** 2, abs=0.01)


@pytest.mark.parametrize(("p", "expected"), [(0.0, 0), (1.0, 30)])
def test_the_ends_of_p_are_exact(p: float, expected: int) -> None:
    assert all(draw_mask(1, index, 30, p).sum() == expected for index in range(50))


def test_more_segments_extend_a_mask() -> None:
    key = mask_key(0, "clip")
    np.testing.assert_array_equal(draw_mask(key, 4, 100, 0.5)[:30], draw_mask(key, 4, 30, 0.5))
