"""One explained clip: what the model wrote, and the maps that say where it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from xbench.metrics import Score
from xbench.models.protocol import ModelInfo
from xbench.notebook import map_html
from xbench.references.reliability import Ceiling, Reliability
from xbench.spec import Call

_UNREADABLE = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer writes for a part of a character


@dataclass(frozen=True)
class Estimate:
    """How far one reference of one clip can be trusted.

    masks: how many random masks it is the mean of; 0 where it is no mean of masks. ceiling: of the metric that
    methods are compared by.
    """

    masks: int
    reliability: Reliability
    ceiling: Ceiling


@dataclass(frozen=True)
class Band:
    """One map of a clip: of a method, or the reference that methods are compared with.

    values: [token, frame], content tokens only, on valid encoder frames. agreement: the score of a method's map
    against the first reference; None where there is no reference. estimate: None for a method.
    """

    call: Call
    values: Float[np.ndarray, "token frame"]
    agreement: Score | None = None
    estimate: Estimate | None = None

    @property
    def kind(self) -> str:
        """`method` or `reference`."""
        return "method" if self.estimate is None else "reference"

    def caption(self, metric: str | None) -> str:
        """Say what a method scores, or how far a reference can be trusted; empty where neither is known."""
        if self.estimate is not None:
            trusted = self.estimate.reliability.value
            masks = f"{self.estimate.masks:,} masks" if self.estimate.masks else ""
            known = "" if trusted is None else f"reliability {trusted:.2f}"
            top = self.estimate.ceiling.upper
            reach = "" if top is None else f"ceiling {top:.2f}"
            return ", ".join(filter(None, (masks, known, reach)))
        if self.agreement is None:
            return ""
        value = self.agreement.value
        told = self.agreement.reason if value is None else f"{value:.2f}"
        return f"agreement {told} ({metric})"


@dataclass(frozen=True)
class Explanation:
    """One clip, what the model wrote for it, and where methods and references say that came from.

    tokens: content tokens as they are written, one per row of every band. rows: how many tokens each row of a picture
    stands for: tokens that share a character are shown together. row_texts: what these write. metric: what `agreement`
    is, None without a reference. spectrogram: [melframe, mel] as the model sees it. frame_seconds: distance of encoder
    frames.
    """

    audio: str
    model: ModelInfo
    text: str
    tokens: tuple[str, ...]
    rows: tuple[int, ...]
    row_texts: tuple[str, ...]
    bands: tuple[Band, ...]
    metric: str | None
    spectrogram: Float[np.ndarray, "melframe mel"]
    frame_seconds: float
    seconds: float

    @property
    def method(self) -> Call:
        """The first method."""
        return self.bands[0].call

    @property
    def values(self) -> Float[np.ndarray, "token frame"]:
        """The map of the first method."""
        return self.bands[0].values

    def shown(self, band: Band) -> Float[np.ndarray, "row frame"]:
        """Return a map as pictures show it: the mean of the tokens of each row."""
        first = np.cumsum((0, *self.rows[:-1]))
        summed = np.add.reduceat(band.values, first, axis=0)
        mean: Float[np.ndarray, "row frame"] = summed / np.asarray(self.rows)[:, None]
        return mean

    def facts(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; a row of `values` per token, four significant digits."""
        return {
            "audio": self.audio,
            "seconds": self.seconds,
            "model": {"name": self.model.name, "revision": self.model.revision},
            "text": self.text,
            "tokens": list(self.tokens),
            "rows": [
                {"text": text, "tokens": count}
                for text, count in zip(self.row_texts, self.rows, strict=True)
            ],
            "frame_seconds": self.frame_seconds,
            "metric": self.metric,
            "bands": [_plain(band) for band in self.bands],
        }

    def _repr_html_(self) -> str:
        return "".join(
            map_html(
                self.shown(band),
                f"{band.call} of {self.model.name}: {self.audio}, {self.seconds:.2f} s: {self.text}"
                + (f" ({caption})" if (caption := band.caption(self.metric)) else ""),
                self.row_texts,
            )
            for band in self.bands
        )


def _plain(band: Band) -> dict[str, Any]:
    score, estimate = band.agreement, band.estimate
    facts: dict[str, Any] = {"kind": band.kind, "name": str(band.call)}
    if score is not None:
        facts |= {"score": score.value, "reason": score.reason}
    if estimate is not None:
        facts |= {
            "masks": estimate.masks,
            "reliability": estimate.reliability.value,
            "ceiling": estimate.ceiling.upper,
        }
    values = [[float(f"{x:.4g}") for x in row] for row in band.values.tolist()]
    return {**facts, "values": values}


def whole_characters(
    texts: Sequence[str], written: Callable[[int, int], str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Join tokens that share a character of several bytes; return how many each row has, and what they write.

    texts: of single tokens, where a part of a character is the replacement character. written: what the tokens from
    the first index up to the second write together.
    """
    counts: list[int] = []
    together: list[str] = []
    first = 0
    for end, text in enumerate(texts, start=1):
        joined = text if end == first + 1 else written(first, end)
        more = end < len(texts) and _UNREADABLE in texts[end]
        if joined.endswith(_UNREADABLE) and more:
            continue
        counts.append(end - first)
        together.append(joined)
        first = end
    return tuple(counts), tuple(together)
