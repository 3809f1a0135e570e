"""Recompute the aggregates of a result file from its utterance columns, and tell what does not agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xbench import stats
from xbench.results import RunResult, ScoreRecord, column_name

_TOLERANCE = 1e-9


def aggregate_problems(result: RunResult) -> list[str]:
    """Return every aggregate that its utterance columns contradict, as "place: message".

    Checked: equal lengths of the columns, n, n_clusters, counts of undefined values, and the values of score,
    floor, ceiling, skill and disattenuated (to 1e-9). Intervals are not: they depend on the
    version of the statistics.
    """
    columns = result.utterances
    lengths = {name: len(values) for name, values in columns.items()}
    expected = lengths.get("id", 0)
    found = [
        f"utterances.{name}: {length} values for {expected} utterances"
        for name, length in lengths.items()
        if length != expected
    ]
    if found or not expected:
        return found
    for index, score in enumerate(result.scores):
        found += [f"scores[{index}].{line}" for line in _score_problems(result, score)]
    return found


def _score_problems(result: RunResult, score: ScoreRecord) -> Iterator[str]:
    name = column_name(score.metric, score.reference)
    columns, clusters = result.utterances, result.utterances["cluster"]
    seed = result.provenance.seed
    if name not in columns:
        yield f"value: there is no column utterances.{name}"
        return
    own = columns[name]
    mean = stats.mean_estimate(own, clusters, seed=seed)
    yield from _compared("value", score.value, mean.value)
    yield from _compared("n", score.n, mean.n)
    yield from _compared("n_clusters", score.n_clusters, mean.n_clusters)
    undefined, missing = sum(score.undefined.values()), sum(value is None for value in own)
    if undefined != missing:
        yield f"undefined: counts {undefined} values, utterances.{name} misses {missing}"
    floors, ceilings = (columns.get(f"{part}:{name}") for part in ("floor", "ceiling"))
    if floors is not None:
        yield from _compared("floor.value", score.floor.value, _mean(floors))
    if ceilings is not None:
        yield from _compared("ceiling.value", score.ceiling.value, _mean(ceilings))
        ratio = stats.disattenuated(own, ceilings, clusters, seed=seed)
        yield from _compared("disattenuated.value", score.disattenuated.value, ratio.value)
    weighted = columns.get(f"weighted:{name}")
    if weighted is not None and score.weighted is not None:
        yield from _compared("weighted.value", score.weighted.value, _mean(weighted))
    # Whether skill is null hangs on an interval; where it is not, its value can be checked.
    if floors is not None and ceilings is not None and score.skill.value is not None:
        skill = stats.skill(own, floors, ceilings, clusters, seed=seed)
        yield from _compared("skill.value", score.skill.value, skill.value)


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _compared(place: str, given: float | None, computed: float | None) -> Iterator[str]:
    if given is None and computed is None:
        return
    if (
        given is None
        or computed is None
        or abs(given - computed) > _TOLERANCE * max(1.0, abs(computed))
    ):
        yield f"{place}: {_said(given)}, but the utterance columns give {_said(computed)}"


def _said(value: float | None) -> str:
    return "null" if value is None else f"{value:.12g}"
