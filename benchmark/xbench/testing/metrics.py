"""The contract of an agreement metric, as checks that run on any registered or described one.

    signature      the functions it names take the declared parameters as keywords, and need no other
    value          ordinary maps (dense, sparse, tied, a distribution) get a finite number
    range          every value lies in the declared range
    direction      in the declared direction a map that is the reference beats noise and its own reversal
    deterministic  the same call gives the same score
    pure           map and reference are what they were
    content        rows of special tokens do not change the score
    degenerate     where there is nothing to compare the score is null with a reason, and nothing crashes or
                   warns: no content token, too few frames, a constant map, a NaN, an infinity, a constant,
                   missing or broken reference (unless the reference does not enter at all), one token
    magnitude      values as large and as small as float32 holds give a score like any others
    words          without word times it neither crashes nor guesses
    batched        the form for many maps gives what single maps give, whatever the company
    ceiling        it lies in the range, is null with a reason for a missing or broken half, and where there
                   is none, the reason is a slug

Intervention and sanity metrics compare no two maps: beyond the signature the battery skips them with that reason.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xbench import registry
from xbench.description import MetricDescription, load_object
from xbench.maps import GridMap
from xbench.metrics import Score
from xbench.metrics.batch import Maps, score_all
from xbench.references.reliability import Ceiling
from xbench.spec import Call, Scalar, Scoring
from xbench.testing.battery import Battery, Broken, CheckResult, NotApplicable
from xbench.testing.calls import MISFIT, check_signature
from xbench.testing.metric_pairs import (
    SPECIAL,
    TOKENS,
    Pair,
    axes_of,
    broken_at,
    bumps,
    hollow_references,
    noise_of,
    nothing_to_compare,
    ordinary_pairs,
    pair_of,
)

_SCORING = Scoring()
_SAME = 1e-9


def check_metric(
    metric: str | Call | MetricDescription, *, expected_failures: Mapping[str, str] | None = None
) -> list[CheckResult]:
    """Run the whole battery; never raises for what the metric does.

    metric: a registered name, with parameters if wanted (`topk-iou:share=0.2`), or a description.
    expected_failures: check to reason.
    Raises UsageError for an unknown metric, parameter or check.
    """
    if isinstance(metric, MetricDescription):
        description, call = metric, metric.resolve(Call(metric.name))
    else:
        given = Call.parse(metric) if isinstance(metric, str) else metric
        description, call = registry.metrics.resolve(given)
    subject = _Subject(description, call.given)
    if description.family != "agreement":
        reason = f"its family is {description.family}: it does not compare a map with a reference"
        return Battery({"signature": _check_signature}).run(subject) + BATTERY.skipped(reason)[1:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return BATTERY.run(subject, expected_failures)


@dataclass(frozen=True)
class _Subject:
    """A metric with complete parameters."""

    description: MetricDescription
    params: Mapping[str, Scalar]

    def score(self, pair: Pair) -> Score:
        """Call the plain function; refuse what is no Score."""
        given: dict[str, Any] = dict(self.params)
        if "words" in self.description.needs:
            given["spans"] = pair.spans
        score = self.description.load()(pair.method, pair.reference, pair.layout, _SCORING, **given)
        if not isinstance(score, Score):
            raise Broken(f"{pair.name}: it returns a {type(score).__name__}, not a Score")
        if score.reason is not None:
            _check_slug(score.reason, pair.name)
        return score

    def value(self, pair: Pair) -> float:
        """Return the value of a pair that must have one."""
        score = self.score(pair)
        if score.value is None:
            raise Broken(f"{pair.name}: null, {score.reason}")
        return score.value

    def together(self, pairs: list[Pair], reference: GridMap) -> tuple[Score, ...]:
        """Score the maps of several pairs at once."""
        maps = Maps.of([pair.method for pair in pairs], pairs[0].layout)
        target = Maps.of([reference], pairs[0].layout)
        params, spans = self.params, pairs[0].spans
        return score_all(self.description, params, maps, target, _SCORING, spans).scores


def _check_slug(reason: str, where: str) -> None:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", reason):
        raise Broken(f"{where}: '{reason}' is no slug such as constant-map")


def _check_signature(subject: _Subject) -> None:
    check_signature(subject.description)


# -- ordinary maps --------------------------------------------------------------------------------


def _check_value(subject: _Subject) -> None:
    for pair in ordinary_pairs():
        subject.value(pair)


def _check_range(subject: _Subject) -> None:
    for pair in [*ordinary_pairs(), pair_of("its reversal", bumps(axes_of())[:, ::-1].copy())]:
        _check_in_range(subject, subject.score(pair).value, pair.name)


def _check_in_range(subject: _Subject, value: float | None, where: str) -> None:
    low, high = subject.description.range
    if value is None:
        return
    if (low is not None and value < low) or (high is not None and value > high):
        raise Broken(f"{where}: {value:.6g} lies outside the declared range [{low}, {high}]")


def _check_direction(subject: _Subject) -> None:
    sign = 1 if subject.description.higher_is_better else -1
    reference = bumps(axes_of())
    best = subject.value(pair_of("the reference itself", reference))
    for name, values in (("noise", noise_of()), ("its reversal", reference[:, ::-1].copy())):
        other = subject.value(pair_of(name, values))
        if sign * best <= sign * other:
            raise Broken(
                f"the reference itself scores {best:.6g}, no better than {name} with {other:.6g}"
            )


def _check_deterministic(subject: _Subject) -> None:
    for pair in ordinary_pairs():
        if subject.score(pair) != subject.score(pair):
            raise Broken(f"{pair.name}: two calls give different scores")


def _check_pure(subject: _Subject) -> None:
    for pair in ordinary_pairs():
        before = [pair.method.values.copy(), pair.reference.values.copy()]
        subject.score(pair)
        after = [pair.method.values, pair.reference.values]
        for what, old, new in zip(("map", "reference"), before, after, strict=True):
            if not np.array_equal(old, new):
                raise Broken(f"{pair.name}: the call changed the {what}")


def _check_content(subject: _Subject) -> None:
    noise, reference = noise_of(), bumps(axes_of())
    before = subject.value(pair_of("a dense map", noise, reference=reference))
    other = noise.copy()
    other[-SPECIAL:] = 5 + noise_of(seed=2)[-SPECIAL:]
    changed = reference.copy()
    changed[-SPECIAL:] = noise_of(seed=3)[-SPECIAL:]
    after = subject.value(pair_of("other special rows", other, reference=changed))
    if abs(before - after) > _SAME:
        raise Broken(f"rows of special tokens change the score from {before:.6g} to {after:.6g}")


# -- degenerate ones ------------------------------------------------------------------------------


def _check_degenerate(subject: _Subject) -> None:
    for pair in nothing_to_compare():
        found = subject.score(pair)
        if found.value is not None:
            raise Broken(f"{pair.name}: {found.value:.6g} instead of null with a reason")
    usual = subject.value(pair_of("a dense map", noise_of()))
    for pair in hollow_references():
        found = subject.score(pair)
        if found.value is not None and abs(found.value - usual) > _SAME:
            raise Broken(f"{pair.name}: {found.value:.6g} instead of null with a reason")
    flat_row = noise_of()
    flat_row[0] = 0.3
    for pair in (
        pair_of("one token", noise_of(tokens=1), layout=axes_of(tokens=1, special=0)),
        pair_of("a constant row", flat_row),
        pair_of("the same row for each token", np.tile(noise_of()[:1], (TOKENS, 1))),
    ):
        _check_in_range(subject, subject.score(pair).value, pair.name)


def _check_magnitude(subject: _Subject) -> None:
    noise, reference = noise_of(), bumps(axes_of())
    usual = subject.score(pair_of("a dense map", noise, reference=reference))
    for factor in (1e30, 1e-30):
        for name, pair in (
            ("the map", pair_of("scaled", factor * noise, reference=reference)),
            ("the reference", pair_of("scaled", noise, reference=factor * reference)),
        ):
            found = subject.score(pair)
            _check_in_range(subject, found.value, f"{name} times {factor:g}")
            if (found.value is None) != (usual.value is None):
                raise Broken(f"{name} times {factor:g}: {found.reason}")


def _check_words(subject: _Subject) -> None:
    if "words" not in subject.description.needs:
        raise NotApplicable("it does not need word times")
    pair = pair_of("no word times", noise_of())
    with_none = tuple(None for _ in pair.layout.tokens)
    found = [
        subject.score(Pair(pair.name, pair.method, pair.reference, pair.layout, spans))
        for spans in (None, with_none)
    ]
    if found[0] != found[1]:
        raise Broken("a manifest without word times and tokens without one give different scores")


# -- batches and ceilings -------------------------------------------------------------------------


def _check_batched(subject: _Subject) -> None:
    if subject.description.batched is None:
        raise NotApplicable("it has no form for many maps")
    pairs = ordinary_pairs()
    pairs += [p for p in nothing_to_compare() if p.layout == pairs[0].layout]
    for reference in [pairs[0].reference, *(p.reference for p in hollow_references())]:
        together = subject.together(pairs, reference)
        for pair, found in zip(pairs, together, strict=True):
            one = Pair(pair.name, pair.method, reference, pair.layout, pair.spans)
            alone = subject.score(one)
            if not _agree(found, alone):
                raise Broken(f"{pair.name}: {found} in a batch, {alone} by itself")
            if subject.together([one], reference) != (found,):
                raise Broken(f"{pair.name}: the score depends on the other maps of the batch")


def _agree(first: Score, second: Score) -> bool:
    if first.value is None or second.value is None:
        return (first.value, first.reason) == (second.value, second.reason)
    return abs(first.value - second.value) <= _SAME


def _check_ceiling(subject: _Subject) -> None:
    description = subject.description
    if description.ceiling is None:
        if not description.no_ceiling:
            raise Broken("it names neither a ceiling nor the reason why there is none")
        return _check_slug(description.no_ceiling, "no_ceiling")
    axes, compute = axes_of(), load_object(description.ceiling)
    mean, wobble = bumps(axes), 0.1 * noise_of()

    def ceiling(half_a: np.ndarray, half_b: np.ndarray) -> Ceiling:
        found = compute(GridMap(mean), GridMap(half_a), GridMap(half_b), axes, _SCORING)
        if not isinstance(found, Ceiling):
            raise Broken(f"its ceiling returns a {type(found).__name__}, not a Ceiling")
        return found

    upper = ceiling(mean + wobble, mean - wobble).upper
    if upper is None:
        raise Broken("the ceiling of an ordinary reference is null")
    _check_in_range(subject, upper, "the ceiling")
    missing, broken = np.zeros_like(mean), broken_at(mean, math.nan)
    for name, half in (("a missing half", missing), ("a NaN in a half", broken)):
        for found in (ceiling(mean, half), ceiling(half, mean)):
            if found.upper is not None or not found.reason:
                raise Broken(f"{name}: a ceiling of {found.upper} instead of null with a reason")
    return None


CHECKS: Mapping[str, Callable[[_Subject], None]] = {
    "signature": _check_signature,
    "value": _check_value,
    "range": _check_range,
    "direction": _check_direction,
    "deterministic": _check_deterministic,
    "pure": _check_pure,
    "content": _check_content,
    "degenerate": _check_degenerate,
    "magnitude": _check_magnitude,
    "words": _check_words,
    "batched": _check_batched,
    "ceiling": _check_ceiling,
}
BATTERY = Battery(CHECKS, {"signature": MISFIT})
