"""A stored map as metrics without a reference see it: how it ranks the cells, and where measurements are stored.

What the model says while cells are hidden is stored under everything that determines it: model, hypothesis, space,
precision and the *ranking* of the map (for random sets: nothing of the map). So methods that rank alike share their
passes, and scoring needs no model.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from xbench import registry
from xbench.description import MetricDescription
from xbench.hiding.masks import mask_key
from xbench.maps import Layout, expand, standardise
from xbench.metrics.intervention import (
    PERCENT,
    ranks,
    sentence_mean,
)
from xbench.models.device import fast_precisions
from xbench.models.protocol import ModelInfo
from xbench.runner.bench import Shelf
from xbench.runner.keys import Job, Spoken, intervention_key, map_key
from xbench.runner.plan import Method
from xbench.spec import Call, TaskSpec
from xbench.store import Key

FEWEST_FRAMES = 3
SHARES = (10, 20, 30, 50)
DRAWS = 64

Hidden = Bool[np.ndarray, "batch *cells"]


@dataclass(frozen=True)
class RankedMap:
    """A stored map as the metrics without a reference see it, and what it was made for."""

    info: ModelInfo
    spoken: Spoken
    method: Method
    values: Float[np.ndarray, "token *cells"]

    @property
    def job(self) -> Job:
        """The utterance under its task."""
        return self.spoken.job

    @property
    def layout(self) -> Layout:
        """The axes of the map."""
        return self.spoken.decoded.layout

    def rows(
        self, space: str, *, resolution: object = "cells", rows: object = "content"
    ) -> Float[np.ndarray, "token cell"]:
        """Return the rows that rank the cells of a space, cells in one axis.

        resolution, rows: parameters of the metric. At resolution `frames` a cell of the input is a whole spectrogram
        frame with the value of its encoder frame: all channels of it are worth the same.
        """
        content = list(self.layout.content) if rows == "content" else slice(None)
        if space == "input" and resolution == "cells":
            values = np.abs(self.values) if self.method.description.signed else self.values
            chosen = values[content]
            return chosen.reshape(len(chosen), -1).astype(np.float64)
        # A frame that is never hidden would leave log p(100) with evidence in it.
        whole = replace(self.job.task.scoring, last_frame="keep")
        on_frames = self.method.on_grid(self.values, self.layout, whole).values[content]
        return expand(on_frames, self.layout) if space == "input" else on_frames

    @property
    def additive(self) -> Float[np.ndarray, "token frame"]:
        """Content rows with their sign, input-space cells summed over each encoder frame."""
        values = self.values[list(self.layout.content)].astype(np.float64)
        if values.ndim == 2:
            return values
        starts = np.rint(self.layout.stride * np.arange(self.layout.frames)).astype(int)
        summed: Float[np.ndarray, "token frame"] = np.add.reduceat(
            values.sum(axis=2), starts, axis=1
        )
        return summed


def without_reference(job: Job) -> list[tuple[MetricDescription, Call]]:
    """Return the task's metrics that take no reference."""
    found = [(registry.metrics.get(call.name), call) for call in job.task.metrics]
    return [(metric, call) for metric, call in found if metric.takes != "reference"]


def ranking_rows(
    metric: MetricDescription, call: Call, ranked: RankedMap
) -> Float[np.ndarray, "token cell"]:
    """Return the rows of a map that rank the cells, as the parameters of a metric say."""
    given = {name: call.given[name] for name in ("resolution", "rows") if name in call.given}
    return ranked.rows(metric.space, **given)


def why_not(metric: MetricDescription, call: Call, ranked: RankedMap) -> str | None:
    """Return why a metric cannot judge this map, as a short slug that results count; None where it can."""
    if ranked.layout.frames < FEWEST_FRAMES:
        return "too-few-frames"
    in_cells = metric.space == "input" and call.given.get("resolution") != "frames"
    if in_cells and ranked.values.ndim == 2:
        return "encoder-space-map"
    if not np.isfinite(ranked.values).all():
        return "non-finite"
    if metric.takes in ("deleted", "inserted"):
        if standardise(ranking_rows(metric, call, ranked), axis=1)[1].all():
            return "constant-map"
        if ranked.job.utterance.target_text(ranked.job.task.target_language) is None:
            return "no-target-text"
    return None


def measurement_key(metric: MetricDescription, call: Call, ranked: RankedMap) -> Key:
    """Return the key of the measurement a metric needs."""
    details: dict[str, Any] = {"what": metric.takes, "space": metric.space}
    if metric.takes == "effects":
        details |= {"seed": ranked.job.seed, "draws": DRAWS, "shares": SHARES}
    else:
        details |= {"order": _digest(order_of(metric, call, ranked)), "percent": PERCENT}
    if metric.takes in ("deleted", "inserted"):
        decoding, job = ranked.job.task.decoding, ranked.job
        details["decoding"] = [decoding.beams, decoding.no_repeat_ngram, decoding.max_tokens]
        details["language"] = [job.utterance.language, job.task.target_language]
    else:
        details["precision"] = precision(ranked.job.task)
        if details["precision"] == "auto":
            # Which precision is taken depends on the hardware, on top of what is in the key already.
            details["fast"] = [p.name for p in fast_precisions(ranked.info.device)]
    return intervention_key(ranked.info, ranked.spoken, details)


def order_of(
    metric: MetricDescription, call: Call, ranked: RankedMap
) -> Int[np.ndarray, "row cell"]:
    """Return the rank of every cell, 0 for the first that is hidden: a row per token, or one for the sentence."""
    rows = ranking_rows(metric, call, ranked)
    return ranks(rows if metric.takes == "curves" else sentence_mean(rows)[None])


def _digest(order: Int[np.ndarray, "row cell"]) -> str:
    return hashlib.sha256(order.tobytes()).hexdigest()


def precision(task: TaskSpec) -> str | None:
    """Return the precision of interventions: the one that the task's references ask for, None for the model's own.

    So `paper` stays in float32, and `--precision` holds for whatever hides cells.
    """
    asked = [call.given.get("precision") for call in task.references]
    return next((str(value) for value in asked if value is not None), None)


def drawn_sets(
    ranked: RankedMap,
) -> tuple[Bool[np.ndarray, "draw frame"], Int[np.ndarray, " draw"]]:
    """Return random sets of frames and their size in percent; they follow from seed and audio alone.

    A set of q percent holds max(1, floor(q T' / 100)) frames, all sets of that size alike.
    """
    frames = ranked.layout.frames
    key = mask_key(ranked.job.seed, f"{ranked.job.utterance.audio_sha256}:effects")
    generator = np.random.Generator(np.random.Philox(key=key))
    places = generator.random((len(SHARES) * DRAWS, frames)).argsort(axis=1).argsort(axis=1)
    share = np.repeat(SHARES, DRAWS)
    return places < np.maximum(share * frames // 100, 1)[:, None], share


def ranked_map(shelf: Shelf, spoken: Spoken, method: Method) -> RankedMap:
    """Read a method's map of one utterance from the store; raises XbenchError when it is gone."""
    stored = shelf.artefact(map_key(shelf.info, spoken, method))
    return RankedMap(shelf.info, spoken, method, stored.arrays["values"])
