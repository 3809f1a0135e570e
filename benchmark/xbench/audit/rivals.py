"""References of equal right against each other: a second ceiling beside that of sampling.

Another effect, another p or other segments make another reference, and nothing says which of them is the right one. So
a method that agrees with one of them perfectly would score against another one no more than the two references agree.
For a judge A and a rival B on utterance u,

    score       metric(map of B, A), both as they were estimated
    ceiling     mean score / mean root of B       `pearson` only: what B would score without its own noise
    sampling    mean root of A                    `pearson` only: what A itself would score without noise

where the root of a reference on an utterance is the mean over tokens of the square roots of their rows' reliability, as
in the ceiling of `pearson` (`stats.noise_free`).

The quotient corrects for the noise of the rival alone, since a method is judged by the noisy A. It is an estimate and
can pass `sampling`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from xbench import registry, stats
from xbench.audit.stored_maps import explained, references_of, scored
from xbench.errors import UsageError
from xbench.maps import GridMap, Layout
from xbench.metrics.batch import Maps, score_all
from xbench.references.reliability import utterance_reliability
from xbench.results import RunResult
from xbench.runner.compare import word_spans
from xbench.runner.keys import Spoken
from xbench.runner.rescore import Change, grouped, stored_run
from xbench.spec import Call
from xbench.store import Store

PEARSON = "pearson"


@dataclass(frozen=True)
class Rivalry:
    """What a map of the rival, taken as a method, scores against the judge.

    ceiling, sampling: as the module says; None for metrics other than `pearson` and for references without halves.
    """

    metric: str
    judge: str
    rival: str
    score: stats.Estimate
    ceiling: stats.Estimate | None
    sampling: stats.Estimate | None


@dataclass(frozen=True)
class _Rated:
    """One reference of one utterance on the encoder grid; noise_free: its root, None where there is none."""

    mean: GridMap
    noise_free: float | None


@dataclass(frozen=True)
class _Utterance:
    spoken: Spoken
    references: dict[str, _Rated]

    @property
    def layout(self) -> Layout:
        return self.spoken.decoded.layout


def rivalries(
    results: Sequence[RunResult], *, metrics: Sequence[str] = (PEARSON,), store: Store
) -> list[Rivalry]:
    """Compare all references of runs of one model with each other, in both roles; loads no model.

    The runs may differ in task and in the parameters of references: one run holds one reference of each name. An
    utterance counts where every reference was estimated for the same hypothesis. Raises UsageError where there are
    fewer than two references, several models, or no common utterance.
    """
    calls = _calls(metrics)
    utterances = _common(results, store)
    names = list(utterances[0].references)
    if len(names) < 2:
        raise UsageError(
            f"the results have one reference, {names[0]}; give runs with others (--reference, at least two in all)"
        )
    return [
        _rivalry(utterances, metric, judge, rival)
        for metric in calls
        for judge, rival in permutations(names, 2)
    ]


def _calls(metrics: Sequence[str]) -> list[Call]:
    calls = [registry.metrics.resolve(Call.parse(text))[1] for text in metrics]
    for call in calls:
        if registry.metrics.get(call.name).takes != "reference":
            raise UsageError(f"--metric {call}: it compares with no reference")
    return calls


def _common(results: Sequence[RunResult], store: Store) -> list[_Utterance]:
    """Return the utterances for which every run has its references, with the references of all runs."""
    usable = scored(results)
    models = {(result.model.name, result.model.revision) for result in usable}
    if len(models) != 1:
        found = ", ".join(sorted(name for name, _ in models))
        raise UsageError(f"give results of one model; these are of {len(models)} ({found})")
    runs = [
        {utterance.spoken.job.utterance.id: utterance for utterance in _of_run(run, store)}
        for run in ([usable[index] for index in group] for group in grouped(usable))
    ]
    merged = []
    for id_, first in runs[0].items():
        others = [run[id_] for run in runs[1:] if id_ in run and _same(first, run[id_])]
        if len(others) == len(runs) - 1:
            together = {k: v for each in (first, *others) for k, v in each.references.items()}
            merged.append(_Utterance(first.spoken, together))
    if not merged:
        raise UsageError("the runs share no utterance with the same hypothesis")
    return merged


def _same(first: _Utterance, second: _Utterance) -> bool:
    audio = (first.spoken.job.utterance.audio_sha256, second.spoken.job.utterance.audio_sha256)
    return audio[0] == audio[1] and first.layout == second.layout


def _of_run(results: Sequence[RunResult], store: Store) -> Iterator[_Utterance]:
    stored = stored_run(results, store, Change())
    for spoken in explained(stored):
        found = {}
        for reference in references_of(stored, spoken):
            noise_free = None
            if reference.halves:
                rows = utterance_reliability(*reference.halves, spoken.decoded.layout).rows
                noise_free = stats.noise_free(rows)
            found[label(reference.call)] = _Rated(reference.mean, noise_free)
        yield _Utterance(spoken, found)


def label(call: Call) -> str:
    """Return a reference's name with what makes it another one: p, and what is not its default.

    How many masks estimate it, and how, makes no other reference.
    """
    how = {"masks", "until", "estimator", "design", "precision", "padding"}
    usual = {one.name: one.default for one in registry.references.get(call.name).parameters}
    own = {k: v for k, v in call.given.items() if k not in how and (k == "p" or v != usual.get(k))}
    return str(Call.make(call.name, own))


def _rivalry(utterances: Sequence[_Utterance], metric: Call, judge: str, rival: str) -> Rivalry:
    description = registry.metrics.get(metric.name)
    scores = []
    for one in utterances:
        maps = Maps.of([one.references[rival].mean], one.layout)
        target = Maps.of([one.references[judge].mean], one.layout)
        scoring = one.spoken.job.task.scoring
        spans = word_spans(one.spoken)
        judged = score_all(description, metric.given, maps, target, scoring, spans)
        scores.append(judged.scores[0].value)
    clusters = [one.spoken.job.utterance.cluster for one in utterances]
    seed = utterances[0].spoken.job.seed
    ceiling = sampling = None
    if metric.name == PEARSON:
        noise = [one.references[rival].noise_free for one in utterances]
        own = [one.references[judge].noise_free for one in utterances]
        ceiling = stats.disattenuated(scores, noise, clusters, seed=seed)
        sampling = stats.mean_estimate(own, clusters, seed=seed)
    score = stats.mean_estimate(scores, clusters, seed=seed)
    return Rivalry(str(metric), judge, rival, score, ceiling, sampling)
