"""Pairs of a map and a reference that metrics are tried on: ordinary ones, and such as leave nothing to compare."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xbench.maps import GridMap, Layout
from xbench.metrics.batch import Spans

TOKENS, SPECIAL, FRAMES = 6, 1, 30


@dataclass(frozen=True)
class Pair:
    """A map and a reference on one grid, with word times of the generated tokens."""

    name: str
    method: GridMap
    reference: GridMap
    layout: Layout
    spans: Spans | None


def axes_of(tokens: int = TOKENS, frames: int = FRAMES, special: int = SPECIAL) -> Layout:
    """Return the axes of a hypothesis whose last `special` tokens are no content."""
    names = tuple(f" t{i}" for i in range(tokens))
    content = tuple(range(tokens - special))
    return Layout(tuple(range(tokens)), names, content, frames, 2 * frames, 2, 0.01)


def word_spans(layout: Layout) -> Spans:
    """Give every token a word of its own, one after the other."""
    length = layout.frames * layout.stride * layout.melframe_seconds / len(layout.tokens)
    return tuple((i * length, (i + 0.6) * length) for i in range(len(layout.tokens)))


def bumps(layout: Layout) -> np.ndarray:
    """Return rows that rise where the word of the token starts, over a little noise, on a baseline."""
    rng = np.random.default_rng(0)
    spans = np.array(word_spans(layout))
    times = (np.arange(layout.frames) + 0.5) * layout.stride * layout.melframe_seconds
    width = 2 * layout.stride * layout.melframe_seconds
    bumps = np.exp(-(((times - spans[:, :1]) / width) ** 2))
    values: np.ndarray = 2 + bumps + 0.02 * rng.uniform(size=bumps.shape)
    return values


def pair_of(
    name: str,
    method: np.ndarray,
    *,
    reference: np.ndarray | None = None,
    layout: Layout | None = None,
) -> Pair:
    """Return a map beside a reference, by default rows that rise where the token's word starts (`bumps`)."""
    axes = layout or axes_of(*method.shape)
    against = bumps(axes) if reference is None else reference
    return Pair(name, GridMap(method), GridMap(against), axes, word_spans(axes))


def noise_of(tokens: int = TOKENS, frames: int = FRAMES, seed: int = 1) -> np.ndarray:
    """Return a map of skewed noise, as attention often looks: [token, frame], not negative."""
    return np.random.default_rng(seed).gamma(0.5, size=(tokens, frames))


def ordinary_pairs() -> list[Pair]:
    """Return pairs that every metric must be able to score."""
    noise = noise_of()
    sparse = np.where(noise > np.quantile(noise, 0.8, axis=1, keepdims=True), noise, 0.0)
    shares = noise / noise.sum(1, keepdims=True)
    return [
        pair_of("the reference itself", bumps(axes_of())),
        pair_of("a dense map", noise),
        pair_of("a distribution", shares),
        pair_of("a sparse map", sparse),
        pair_of("a map with equal values", np.round(3 * noise)),
    ]


def broken_at(values: np.ndarray, value: float) -> np.ndarray:
    """Return a copy whose first cell holds this value."""
    changed = values.copy()
    changed[0, 0] = value
    return changed


def nothing_to_compare() -> Iterator[Pair]:
    """Yield pairs whose map alone, or whose grid, leaves nothing to compare."""
    noise, flat = noise_of(), np.full((TOKENS, FRAMES), 1 / FRAMES)
    yield pair_of("no content token", noise, layout=axes_of(special=TOKENS))
    for frames in (1, 2):
        yield pair_of(f"{frames} frame(s)", noise_of(frames=frames))
    yield pair_of("a constant map", flat)
    yield pair_of("a map of zeros", 0 * flat)
    rounding = flat * (1 + 1e-9 * (noise > 0.5))
    yield pair_of("a map that is constant but for rounding", rounding)
    yield pair_of("a NaN in the map", broken_at(noise, math.nan))
    yield pair_of("an infinity in the map", broken_at(noise, math.inf))
    yield pair_of("a NaN in the reference", noise, reference=broken_at(noise, math.nan))


def hollow_references() -> Iterator[Pair]:
    """Yield pairs whose reference says nothing: it is constant."""
    noise, flat = noise_of(), np.full((TOKENS, FRAMES), 0.3)
    yield pair_of("a constant reference", noise, reference=flat)
    yield pair_of("a reference of zeros", noise, reference=0 * flat)
