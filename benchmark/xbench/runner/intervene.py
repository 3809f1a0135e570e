"""Metrics without a reference: hide cells in the order of a map, store what the model then says, score that.

Measuring needs the model and is stored under everything that determines it: model, hypothesis, space, and
the *ranking* of the map (for random sets: nothing of the map). Scoring reads the store only, so it can be
repeated without a model, and methods that rank alike share their passes.

    curves    per content token i and step q: log p(y_i) with the k(q) first cells of row i hidden, and with
              all others hidden; equal rows, equal steps and the two ends are run once
    effects   64 random sets of 10, 20, 30 and 50 % of the frames, and all frames, hidden; the same for all methods
    texts     what is written with the k(q) first (`deleted`) or last (`inserted`) cells of the sentence-mean map
              hidden: one batch for all steps

In space `encoder` a hidden frame is a zero vector (`spes-encoder`), and input-space maps enter pooled; in
space `input` a hidden cell takes its channel's mean over the valid frames (`spes-input`), and encoder-frame
maps do not enter: they would be compared at a resolution that they do not have. Padding stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from xbench import registry
from xbench.case import Case
from xbench.description import MetricDescription
from xbench.errors import UtteranceError
from xbench.hiding.batching import Batched
from xbench.hiding.cells import Cells, EncoderFrames, SpectrogramCells
from xbench.hiding.effect import log_probability
from xbench.hiding.masks import mask_key
from xbench.hiding.passes import Chosen, choose
from xbench.hiding.precision import bfloat16_is_fast
from xbench.maps import Layout, standardise
from xbench.metrics import Score
from xbench.metrics.intervention import (
    PERCENT,
    Curves,
    Effects,
    Redecoded,
    counts,
    ranks,
    sentence_mean,
)
from xbench.metrics.quality import statistics
from xbench.models.optional import WritesEncoded, offers
from xbench.models.protocol import ModelInfo, SpeechModel
from xbench.runner import compare, stages
from xbench.runner.bench import Bench, Shelf
from xbench.runner.keys import Decoded, Job, Spoken, intervention_key, map_key
from xbench.runner.plan import Method
from xbench.spec import Call, TaskSpec
from xbench.store import Artefact, Key, Store

FEWEST_FRAMES = 3
SHARES = (10, 20, 30, 50)
DRAWS = 64

Hidden = Bool[np.ndarray, "batch *cells"]


@dataclass(frozen=True)
class Subject:
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

    def rows(self, space: str) -> Float[np.ndarray, "token cell"]:
        """Return the content rows that rank the cells of a space, cells in one axis."""
        content, description = list(self.layout.content), self.method.description
        if space == "input":
            values = np.abs(self.values) if description.signed else self.values
            return values[content].reshape(len(content), -1).astype(np.float64)
        # A frame that is never hidden would leave log p(100) with evidence in it.
        whole = replace(self.job.task.scoring, last_frame="keep")
        return self.method.on_grid(self.values, self.layout, whole).values[content]

    @property
    def additive(self) -> Float[np.ndarray, "token frame"]:
        """Content rows with their sign, input-space cells summed over each encoder frame."""
        values = self.values[list(self.layout.content)].astype(np.float64)
        if values.ndim == 2:
            return values
        starts = self.layout.stride * np.arange(self.layout.frames)
        summed: Float[np.ndarray, "token frame"] = np.add.reduceat(
            values.sum(axis=2), starts, axis=1
        )
        return summed


def without_reference(job: Job) -> list[tuple[MetricDescription, Call]]:
    """Return the task's metrics that take no reference."""
    found = [(registry.metrics.get(call.name), call) for call in job.task.metrics]
    return [(metric, call) for metric, call in found if metric.takes != "reference"]


def _why_not(metric: MetricDescription, subject: Subject) -> str | None:
    if subject.layout.frames < FEWEST_FRAMES:
        return "too-few-frames"
    if metric.space == "input" and subject.values.ndim == 2:
        return "encoder-space-map"
    if not np.isfinite(subject.values).all():
        return "non-finite"
    if metric.takes in ("deleted", "inserted"):
        if standardise(subject.rows(metric.space), axis=1)[1].all():
            return "constant-map"
        if subject.job.utterance.target_text(subject.job.task.target_language) is None:
            return "no-target-text"
    return None


# -- keys -----------------------------------------------------------------------------------------


def _key(metric: MetricDescription, subject: Subject) -> Key:
    """Return the key of the measurement a metric needs."""
    details: dict[str, Any] = {"what": metric.takes, "space": metric.space}
    if metric.takes == "effects":
        details |= {"seed": subject.job.seed, "draws": DRAWS, "shares": SHARES}
    else:
        details |= {"order": _digest(_order(metric, subject)), "percent": PERCENT}
    if metric.takes in ("deleted", "inserted"):
        decoding, job = subject.job.task.decoding, subject.job
        details["decoding"] = [decoding.beams, decoding.no_repeat_ngram, decoding.max_tokens]
        details["language"] = [job.utterance.language, job.task.target_language]
    else:
        details["precision"] = precision(subject.job.task)
        if details["precision"] == "auto":
            # Whether bfloat16 is taken depends on the hardware, on top of what is in the key already.
            details["bfloat16_is_fast"] = bfloat16_is_fast(subject.info.device)
    return intervention_key(subject.info, subject.spoken, details)


def _order(metric: MetricDescription, subject: Subject) -> Int[np.ndarray, "row cell"]:
    rows = subject.rows(metric.space)
    return ranks(rows if metric.takes == "curves" else sentence_mean(rows)[None])


def _digest(order: Int[np.ndarray, "row cell"]) -> str:
    return hashlib.sha256(order.tobytes()).hexdigest()


# -- measure --------------------------------------------------------------------------------------


def measure(bench: Bench, spoken: Spoken, methods: Sequence[Method]) -> None:
    """Run the model for every measurement that the task's metrics need and the store lacks.

    A model that cannot write from encoder outputs leaves the free ones out. Raises UtteranceError.
    """
    model, store = bench.model, bench.store
    metrics = [metric for metric, _ in without_reference(spoken.job) if metric.takes != "map"]
    hearing = None
    for method in methods if metrics and not spoken.decoded.empty else ():
        subject = _subject(bench.shelf, spoken, method)
        for metric in metrics:
            if metric.takes in ("deleted", "inserted") and not offers(model, WritesEncoded):
                continue
            if _why_not(metric, subject):
                continue
            key = _key(metric, subject)
            if store.get(key) is not None:
                continue
            hearing = hearing or Hearing(model, spoken.job, spoken.decoded, bench.batch_size)
            store.put(key, *_MEASURES[metric.takes](hearing, metric, subject))


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

    @cached_property
    def case(self) -> Case:
        """The utterance, read once."""
        features, _ = stages.read_features(self.model, self.job.utterance)
        return Case(self.model, features, self.decoded.hypothesis, self.job.utterance.audio_sha256)

    @cached_property
    def _cells(self) -> dict[str, Cells]:
        return {"encoder": EncoderFrames(self.case), "input": SpectrogramCells(self.case)}

    @cached_property
    def _chosen(self) -> dict[str, Chosen]:
        return {}

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

    def _masks(self, space: str, hidden: Hidden) -> Any:
        cells = self._cells[space]
        return torch.from_numpy(hidden).reshape(len(hidden), *cells.shape).to(cells.values.device)


def precision(task: TaskSpec) -> str | None:
    """Return the precision of interventions: the one that the task's references ask for, None for the model's own.

    So `paper` stays in float32, and `--precision` holds for whatever hides cells.
    """
    asked = [call.given.get("precision") for call in task.references]
    return next((str(value) for value in asked if value is not None), None)


Measured = tuple[dict[str, np.ndarray], dict[str, Any]]


def _curves(hearing: Hearing, metric: MetricDescription, subject: Subject) -> Measured:
    order = _order(metric, subject)
    cells = order.shape[1]
    taken, step = np.unique(counts(cells), return_inverse=True)

    def measured(hidden: Hidden) -> Float[np.ndarray, "batch token"]:
        found: np.ndarray = hearing.log_probabilities(metric.space, hidden)
        return found

    content = list(subject.layout.content)
    # Methods that say the same for every token need one set of masks, not one per token.
    orders, group = np.unique(order, axis=0, return_inverse=True)
    deleted = np.empty((len(content), len(taken)))
    inserted = np.empty((len(content), len(taken)))
    ends = np.array([0, cells])[:, None] > orders[:1]  # nothing hidden, all hidden
    clean, silent = measured(ends)[:, content]
    deleted[:, 0], deleted[:, -1] = clean, silent
    inserted[:, 0], inserted[:, -1] = silent, clean
    for index, one in enumerate(orders):  # one order at a time bounds the memory of its masks
        rows = np.flatnonzero(group.ravel() == index)
        first = one[None] < taken[1:-1, None]
        if len(first):
            found = measured(np.concatenate([first, ~first]))[:, content][:, rows]
            deleted[rows, 1:-1] = found[: len(first)].T
            inserted[rows, 1:-1] = found[len(first) :].T
    passes = 2 + 2 * len(orders) * max(len(taken) - 2, 0)
    arrays = {"deleted": deleted[:, step], "inserted": inserted[:, step]}
    return arrays, {"forward_passes": passes, **_computation(hearing, metric)}


def _computation(hearing: Hearing, metric: MetricDescription) -> dict[str, Any]:
    """Return how the passes in the metric's space were run."""
    return {"computation": hearing.chosen(metric.space).facts}


def _effects(hearing: Hearing, metric: MetricDescription, subject: Subject) -> Measured:
    hidden, _ = drawn_sets(subject)
    content = list(subject.layout.content)
    ends = np.repeat([[False], [True]], hidden.shape[1], axis=1)
    found = hearing.log_probabilities("encoder", np.concatenate([ends, hidden]))[:, content]
    arrays = {"drop": found[0] - found[2:], "total": found[0] - found[1]}
    return arrays, {"forward_passes": len(found), **_computation(hearing, metric)}


def drawn_sets(
    subject: Subject,
) -> tuple[Bool[np.ndarray, "draw frame"], Int[np.ndarray, " draw"]]:
    """Return random sets of frames and their size in percent; they follow from seed and audio alone.

    A set of q percent holds max(1, floor(q T' / 100)) frames, all sets of that size alike.
    """
    frames = subject.layout.frames
    key = mask_key(subject.job.seed, f"{subject.job.utterance.audio_sha256}:effects")
    generator = np.random.Generator(np.random.Philox(key=key))
    places = generator.random((len(SHARES) * DRAWS, frames)).argsort(axis=1).argsort(axis=1)
    share = np.repeat(SHARES, DRAWS)
    return places < np.maximum(share * frames // 100, 1)[:, None], share


def _texts(hearing: Hearing, metric: MetricDescription, subject: Subject) -> Measured:
    order = _order(metric, subject)
    taken, step = np.unique(counts(order.shape[1]), return_inverse=True)
    hidden = order < taken[:, None]
    texts = hearing.texts(metric.space, ~hidden if metric.takes == "inserted" else hidden)
    return {}, {"texts": [texts[index] for index in step], "forward_passes": len(hidden)}


_MEASURES: Mapping[str, Callable[[Hearing, MetricDescription, Subject], Measured]] = {
    "curves": _curves,
    "effects": _effects,
    "deleted": _texts,
    "inserted": _texts,
}


# -- score ----------------------------------------------------------------------------------------


def with_interventions(
    scored: compare.Scored,
    shelf: Shelf,
    spoken: Spoken,
    methods: Sequence[Method],
    *,
    absent: str = "not-measured",
) -> compare.Scored:
    """Add the scores of the metrics without a reference, from the store; needs no model.

    A measurement that is not there is null with the reason `absent`: it needs a run with the model, or
    the model cannot be measured so.
    """
    metrics = without_reference(spoken.job)
    if not metrics or spoken.decoded.empty:
        return scored
    scores = {call: dict(of_method) for call, of_method in scored.scores.items()}
    computations: dict[Call, dict[compare.Column, Mapping[str, Any]]] = {}
    for method in methods:
        subject = _subject(shelf, spoken, method)
        for metric, call in metrics:
            score, computation = _score(metric, call, subject, shelf.store, absent)
            scores[method.call][metric.name, None] = score
            computations.setdefault(method.call, {})[metric.name, None] = computation
    return replace(scored, scores=scores, computations=computations)


def _score(
    metric: MetricDescription, call: Call, subject: Subject, store: Store, absent: str
) -> tuple[Score, Mapping[str, Any]]:
    """Return the score, and how the passes that it rests on were run (empty where none says)."""
    reason = _why_not(metric, subject)
    if reason:
        return Score(None, reason), {}
    compute = metric.load()
    params = call.given
    if metric.takes == "map":
        return compute(subject.rows(metric.space), **params), {}
    stored = store.get(_key(metric, subject))
    if stored is None:
        return Score(None, absent), {}
    computation = stored.facts.get("computation", {})
    given = _given(metric, subject, stored)
    if given is None:
        return Score(None, "no-target-text"), computation
    return compute(given, **params), computation


def _given(
    metric: MetricDescription, subject: Subject, stored: Artefact
) -> Curves | Effects | Redecoded | None:
    arrays = stored.arrays
    if metric.takes == "curves":
        ranked = ~standardise(subject.rows(metric.space), axis=1)[1]
        return Curves(arrays["deleted"], arrays["inserted"], ranked)
    if metric.takes == "effects":
        hidden, share = drawn_sets(subject)
        return Effects(subject.additive, hidden, share, arrays["drop"], arrays["total"])
    task, utterance = subject.job.task, subject.job.utterance
    target = utterance.target_text(task.target_language)
    assert target is not None
    language = task.target_language or utterance.language
    found = [statistics(task.quality, text, target, language) for text in stored.facts["texts"]]
    if found[0] is None:
        return None
    return Redecoded(np.array(found), task.quality)


def _subject(shelf: Shelf, spoken: Spoken, method: Method) -> Subject:
    stored = shelf.artefact(map_key(shelf.info, spoken, method))
    return Subject(shelf.info, spoken, method, stored.arrays["values"])
