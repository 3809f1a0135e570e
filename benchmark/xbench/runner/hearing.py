"""Hide cells in the order of a map, run the model, and store what it then says.

    curves    per content token i and step q: log p(y_i) with the k(q) first cells of row i hidden, and with
              all others hidden; equal rows, equal steps and the two ends are run once
    effects   64 random sets of 10, 20, 30 and 50 % of the frames, and all frames, hidden; the same for all methods
    texts     what is written with the k(q) first (`deleted`) or last (`inserted`) cells of the sentence-mean map
              hidden: one batch for all steps, where memory allows it

In space `encoder` a hidden frame is a zero vector (`spes-encoder`), and input-space maps enter pooled; in
space `input` a hidden cell takes its channel's mean over the valid frames (`spes-input`), and encoder-frame
maps do not enter: they would be compared at a resolution that they do not have. Padding stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from xbench.case import Case
from xbench.description import MetricDescription
from xbench.errors import UtteranceError
from xbench.hiding.batching import Batched
from xbench.hiding.cells import Cells, EncoderFrames, SpectrogramCells
from xbench.hiding.effect import log_probability
from xbench.hiding.passes import Chosen, choose
from xbench.metrics.intervention import (
    PERCENT,
    counts,
)
from xbench.models.optional import WritesEncoded, offers
from xbench.models.protocol import SpeechModel
from xbench.runner import stages
from xbench.runner.bench import Bench
from xbench.runner.keys import Decoded, Job, Spoken
from xbench.runner.plan import Method
from xbench.runner.ranked import (
    DRAWS,
    SHARES,
    Hidden,
    RankedMap,
    drawn_sets,
    measurement_key,
    order_of,
    precision,
    ranked_map,
    why_not,
    without_reference,
)
from xbench.spec import Call

Measured = tuple[dict[str, np.ndarray], dict[str, Any]]


def measure(bench: Bench, spoken: Spoken, methods: Sequence[Method]) -> None:
    """Run the model for every measurement that the task's metrics need and the store lacks.

    A model that cannot write from encoder outputs leaves the free ones out. Raises UtteranceError.
    """
    model, store = bench.model, bench.store
    metrics = [found for found in without_reference(spoken.job) if found[0].takes != "map"]
    hearing = None
    for method in methods if metrics and not spoken.decoded.unexplained else ():
        ranked = ranked_map(bench.shelf, spoken, method)
        for metric, call in metrics:
            if metric.takes in ("deleted", "inserted") and not offers(model, WritesEncoded):
                continue
            if why_not(metric, call, ranked):
                continue
            key = measurement_key(metric, call, ranked)
            if store.get(key) is not None:
                continue
            hearing = hearing or Hearing(model, spoken.job, spoken.decoded, bench.batch_size)
            bench.put(key, *measured(hearing, metric, call, ranked))


def measured(
    hearing: Hearing, metric: MetricDescription, call: Call, ranked: RankedMap
) -> Measured:
    """Run the model with cells hidden in the order of a map; return arrays and facts, as the store keeps them."""
    return _MEASURES[metric.takes](hearing, metric, call, ranked)


def most_passes(job: Job, methods: int, tokens: int) -> int:
    """Return how many forward passes the measurements of one utterance take where nothing is shared."""
    wanted = {(m.takes, m.space) for m, _ in without_reference(job)}
    steps = len(PERCENT) - 2
    passes = {
        "curves": methods * (2 + 2 * steps * tokens),
        "effects": 2 + DRAWS * len(SHARES),
        "deleted": methods * len(PERCENT),
        "inserted": methods * len(PERCENT),
        "map": 0,
    }
    return sum(passes[takes] for takes, _ in wanted)


@dataclass(frozen=True)
class Hearing:
    """One utterance with cells hidden, as the model then hears it."""

    model: SpeechModel
    job: Job
    decoded: Decoded
    batch_size: int | None
    _chosen: dict[str, Chosen] = field(default_factory=dict)

    @cached_property
    def case(self) -> Case:
        """The utterance, read once."""
        features, _ = stages.read_features(self.model, self.job.utterance)
        return Case(self.model, features, self.decoded.hypothesis, self.job.utterance.audio_sha256)

    @cached_property
    def _cells(self) -> dict[str, Cells]:
        return {"encoder": EncoderFrames(self.case), "input": SpectrogramCells(self.case)}

    @torch.inference_mode()
    def chosen(self, space: str) -> Chosen:
        """Return how log-probabilities are measured in a space, chosen once per utterance."""
        if space not in self._chosen:
            self._chosen[space] = choose(
                self._cells[space],
                log_probability,
                precision=precision(self.job.task),
                batch_size=self.batch_size,
            )
        return self._chosen[space]

    @torch.inference_mode()
    def log_probabilities(self, space: str, hidden: Hidden) -> Float[np.ndarray, "batch token"]:
        """Return log p of every generated token while cells are hidden: [batch, cell], in one axis."""
        shift = self.chosen(space).measure(self._masks(space, hidden))
        found: np.ndarray = shift.value.double().cpu().numpy()
        if not np.isfinite(found).all():
            raise UtteranceError(
                "non-finite-log-probability", "the log-probability of a token is not finite"
            )
        return found

    @torch.inference_mode()
    def texts(self, space: str, hidden: Hidden) -> list[str]:
        """Return what the model writes while cells are hidden; one batch for all masks, where it fits into memory."""
        model, job, cells = self.model, self.job, self._cells[space]
        assert offers(model, WritesEncoded)

        def written(masks: Any) -> list[str]:
            found: list[str] = model.decode_encoded(
                cells.encoded(masks),
                job.utterance.language,
                job.task.target_language,
                job.task.decoding,
            )
            return found

        batched: Batched[list[str]] = Batched(
            written, lambda parts: list(chain(*parts)), self.batch_size or len(hidden)
        )
        return batched(self._masks(space, hidden))

    def over_cells(
        self, space: str, order: Int[np.ndarray, "row position"]
    ) -> Int[np.ndarray, "row cell"]:
        """Return the rank of every cell; where whole spectrogram frames were ranked, by frame, then by mel channel."""
        parts = math.prod(self._cells[space].shape) // order.shape[1]
        ranks: Int[np.ndarray, "row cell"] = order[..., None] * parts + np.arange(parts)
        return ranks.reshape(len(order), -1)

    def _masks(self, space: str, hidden: Hidden) -> Any:
        cells = self._cells[space]
        return torch.from_numpy(hidden).reshape(len(hidden), *cells.shape).to(cells.values.device)


def _curves(hearing: Hearing, metric: MetricDescription, call: Call, ranked: RankedMap) -> Measured:
    order = order_of(metric, call, ranked)
    cells = order.shape[1]
    taken, step = np.unique(counts(cells), return_inverse=True)
    heard = partial(hearing.log_probabilities, metric.space)
    content = list(ranked.layout.content)
    # Methods that say the same for every token need one set of masks, not one per token.
    orders, group = np.unique(order, axis=0, return_inverse=True)
    deleted = np.empty((len(content), len(taken)))
    inserted = np.empty((len(content), len(taken)))
    ends = np.array([0, cells])[:, None] > orders[:1]  # nothing hidden, all hidden
    clean, silent = heard(ends)[:, content]
    deleted[:, 0], deleted[:, -1] = clean, silent
    inserted[:, 0], inserted[:, -1] = silent, clean
    for index, one in enumerate(orders):  # one order at a time bounds the memory of its masks
        rows = np.flatnonzero(group.ravel() == index)
        first = one[None] < taken[1:-1, None]
        if len(first):
            found = heard(np.concatenate([first, ~first]))[:, content][:, rows]
            deleted[rows, 1:-1] = found[: len(first)].T
            inserted[rows, 1:-1] = found[len(first) :].T
    passes = 2 + 2 * len(orders) * max(len(taken) - 2, 0)
    arrays = {"deleted": deleted[:, step], "inserted": inserted[:, step]}
    return arrays, {"forward_passes": passes, **_computation(hearing, metric)}


def _computation(hearing: Hearing, metric: MetricDescription) -> dict[str, Any]:
    """Return how the passes in the metric's space were run."""
    return {"computation": hearing.chosen(metric.space).facts}


def _effects(
    hearing: Hearing, metric: MetricDescription, call: Call, ranked: RankedMap
) -> Measured:
    hidden, _ = drawn_sets(ranked)
    content = list(ranked.layout.content)
    ends = np.repeat([[False], [True]], hidden.shape[1], axis=1)
    found = hearing.log_probabilities("encoder", np.concatenate([ends, hidden]))[:, content]
    arrays = {"drop": found[0] - found[2:], "total": found[0] - found[1]}
    return arrays, {"forward_passes": len(found), **_computation(hearing, metric)}


def _texts(hearing: Hearing, metric: MetricDescription, call: Call, ranked: RankedMap) -> Measured:
    order = hearing.over_cells(metric.space, order_of(metric, call, ranked))
    taken, step = np.unique(counts(order.shape[1]), return_inverse=True)
    hidden = order < taken[:, None]
    texts = hearing.texts(metric.space, ~hidden if metric.takes == "inserted" else hidden)
    return {}, {"texts": [texts[index] for index in step], "forward_passes": len(hidden)}


_MEASURES: Mapping[str, Callable[[Hearing, MetricDescription, Call, RankedMap], Measured]] = {
    "curves": _curves,
    "effects": _effects,
    "deleted": _texts,
    "inserted": _texts,
}
