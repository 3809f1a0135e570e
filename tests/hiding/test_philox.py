"""Masks drawn on a device are numpy's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xbench.hiding import masks, philox
from xbench.hiding.masks import draw_mask, draw_masks, number

KEYS = (0, 1, 2**64, 2**128 - 1, 0xFEDCBA98765432100123456789ABCDEF)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("size", [1, 3, 4, 5, 550])
def test_every_number_is_numpys(key: int, size: int) -> None:
    streams = [0, 1, 19_999, 2**40]
    found = philox.uniform(key, torch.tensor(streams), size).numpy()
    for row, stream in zip(found, streams, strict=True):
        generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, stream]))
        np.testing.assert_array_equal(row, generator.random(size))


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("design", ["independent", "antithetic"])
def test_masks_are_those_of_draw_mask(
    on_device: bool, design: masks.Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = masks.device_of("cuda" if on_device else "cpu")
    monkeypatch.setattr(masks, "device_of", lambda device: entry)
    numbering = number(np.arange(5, 77), 3, design)
    sizes = np.array([7, 40, 33])[numbering.level]
    found = draw_masks(KEYS[-1], numbering, sizes, 40, 0.7, torch.device("cpu")).numpy()
    assert found.shape == (72, 40)
    for row, (index, size, mirrored) in enumerate(
        zip(numbering.drawn, sizes, numbering.mirrored, strict=True)
    ):
        wanted = draw_mask(KEYS[-1], int(index), int(size), 0.7, mirrored=bool(mirrored))
        np.testing.assert_array_equal(found[row, :size], wanted)
        assert not found[row, size:].any()
