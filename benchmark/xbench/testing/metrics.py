"""The contract of an agreement metric, as checks that run on any registered or described one.

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

Intervention and sanity metrics compare no two maps: the battery skips them with that reason.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xbench import registry
from xbench.description import MetricDescription, load_object
from xbench.errors import XbenchError
from xbench.maps import GridMap, Layout
from xbench.metrics import Score
from xbench.metrics.batch import Maps, Spans, score_all
from xbench.references.reliability import Ceiling
from xbench.spec import Call, Scalar, Scoring
from xbench.testing.methods import CheckResult

_SCORING = Scoring()
_TOKENS, _SPECIAL, _FRAMES = 6, 1, 30
_SAME = 1e-9
_LONGEST = 300  # characters of a detail


class _Broken(Exception):
    """A check found the contract broken; the message says how."""


class _NotApplicable(Exception):
    """A check has nothing to look at; the message says why."""


def check_metric(metric: str | Call | MetricDescription) -> list[CheckResult]:
    """Run the whole battery; never raises for what the metric does.

    metric: a registered name, with parameters if wanted (`topk-iou:share=0.2`), or a description.
    Raises UsageError for an unknown metric or parameter.
    """
    if isinstance(metric, MetricDescription):
        description, call = metric, metric.resolve(Call(metric.name))
    else:
        given = Call.parse(metric) if isinstance(metric, str) else metric
        description, call = registry.metrics.resolve(given)
    if description.family != "agreement":
        detail = f"its family is {description.family}: it does not compare a map with a reference"
        return [CheckResult(name, "skipped", detail) for name in CHECKS]
    subject = _Subject(description, call.given)
    return [_outcome(name, check, subject) for name, check in CHECKS.items()]


def _outcome(name: str, check: Callable[[_Subject], None], subject: _Subject) -> CheckResult:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check(subject)
    except _NotApplicable as reason:
        return CheckResult(name, "skipped", str(reason))
    except Exception as problem:  # noqa: BLE001  # a plugin may fail in any way
        own = isinstance(problem, _Broken | XbenchError)
        detail = str(problem) if own else f"{type(problem).__name__}: {problem}"
        return CheckResult(name, "failed", detail.splitlines()[0][:_LONGEST])
    return CheckResult(name, "passed")


# -- what it is tried on --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """A map and a reference on one grid, with word times of the generated tokens."""

    name: str
    method: GridMap
    reference: GridMap
    layout: Layout
    spans: Spans | None


@dataclass(frozen=True)
class _Subject:
    """A metric with complete parameters."""

    description: MetricDescription
    params: Mapping[str, Scalar]

    def score(self, pair: _Pair) -> Score:
        """Call the plain function; refuse what is no Score."""
        given: dict[str, Any] = dict(self.params)
        if "words" in self.description.needs:
            given["spans"] = pair.spans
        score = self.description.load()(pair.method, pair.reference, pair.layout, _SCORING, **given)
        if not isinstance(score, Score):
            raise _Broken(f"{pair.name}: it returns a {type(score).__name__}, not a Score")
        if score.reason is not None:
            _check_slug(score.reason, pair.name)
        return score

    def value(self, pair: _Pair) -> float:
        """Return the value of a pair that must have one."""
        score = self.score(pair)
        if score.value is None:
            raise _Broken(f"{pair.name}: null, {score.reason}")
        return score.value

    def together(self, pairs: list[_Pair], reference: GridMap) -> tuple[Score, ...]:
        """Score the maps of several pairs at once."""
        maps = Maps.of([pair.method for pair in pairs], pairs[0].layout)
        target = Maps.of([reference], pairs[0].layout)
        params, spans = self.params, pairs[0].spans
        return score_all(self.description, params, maps, target, _SCORING, spans)


def _check_slug(reason: str, where: str) -> None:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", reason):
        raise _Broken(f"{where}: '{reason}' is no slug such as constant-map")


def _axes(tokens: int = _TOKENS, frames: int = _FRAMES, special: int = _SPECIAL) -> Layout:
    names = tuple(f" t{i}" for i in range(tokens))
    content = tuple(range(tokens - special))
    return Layout(tuple(range(tokens)), names, content, frames, 2 * frames, 2, 0.01)


def _spans(layout: Layout) -> Spans:
    """Give every token a word of its own, one after the other."""
    length = layout.frames * layout.stride * layout.melframe_seconds / len(layout.tokens)
    return tuple((i * length, (i + 0.6) * length) for i in range(len(layout.tokens)))


def _bumps(layout: Layout) -> np.ndarray:
    """Return rows that rise where the word of the token starts, over a little noise, on a baseline."""
    rng = np.random.default_rng(0)
    spans = np.array(_spans(layout))
    times = (np.arange(layout.frames) + 0.5) * layout.stride * layout.melframe_seconds
    width = 2 * layout.stride * layout.melframe_seconds
    bumps = np.exp(-(((times - spans[:, :1]) / width) ** 2))
    values: np.ndarray = 2 + bumps + 0.02 * rng.uniform(size=bumps.shape)
    return values


def _pair(
    name: str,
    method: np.ndarray,
    *,
    reference: np.ndarray | None = None,
    layout: Layout | None = None,
    distribution: bool = False,
) -> _Pair:
    axes = layout or _axes(*method.shape)
    against = _bumps(axes) if reference is None else reference
    return _Pair(name, GridMap(method, distribution), GridMap(against), axes, _spans(axes))


def _noise(tokens: int = _TOKENS, frames: int = _FRAMES, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).gamma(0.5, size=(tokens, frames))


def _ordinary() -> list[_Pair]:
    noise = _noise()
    sparse = np.where(noise > np.quantile(noise, 0.8, axis=1, keepdims=True), noise, 0.0)
    shares = noise / noise.sum(1, keepdims=True)
    return [
        _pair("the reference itself", _bumps(_axes())),
        _pair("a dense map", noise),
        _pair("a distribution", shares, distribution=True),
        _pair("a sparse map", sparse),
        _pair("a map with equal values", np.round(3 * noise)),
    ]


def _broken_at(values: np.ndarray, value: float) -> np.ndarray:
    changed = values.copy()
    changed[0, 0] = value
    return changed


def _nothing_to_compare() -> Iterator[_Pair]:
    """Yield pairs whose map alone, or whose grid, leaves nothing to compare."""
    noise, flat = _noise(), np.full((_TOKENS, _FRAMES), 1 / _FRAMES)
    yield _pair("no content token", noise, layout=_axes(special=_TOKENS))
    for frames in (1, 2):
        yield _pair(f"{frames} frame(s)", _noise(frames=frames))
    yield _pair("a constant map", flat, distribution=True)
    yield _pair("a map of zeros", 0 * flat)
    rounding = flat * (1 + 1e-9 * (noise > 0.5))
    yield _pair("a map that is constant but for rounding", rounding)
    yield _pair("a NaN in the map", _broken_at(noise, math.nan))
    yield _pair("an infinity in the map", _broken_at(noise, math.inf))
    yield _pair("a NaN in the reference", noise, reference=_broken_at(noise, math.nan))


def _hollow_references() -> Iterator[_Pair]:
    noise, flat = _noise(), np.full((_TOKENS, _FRAMES), 0.3)
    yield _pair("a constant reference", noise, reference=flat)
    yield _pair("a reference of zeros", noise, reference=0 * flat)


# -- ordinary maps --------------------------------------------------------------------------------


def _check_value(subject: _Subject) -> None:
    for pair in _ordinary():
        subject.value(pair)


def _check_range(subject: _Subject) -> None:
    for pair in [*_ordinary(), _pair("its reversal", _bumps(_axes())[:, ::-1].copy())]:
        _check_in_range(subject, subject.score(pair).value, pair.name)


def _check_in_range(subject: _Subject, value: float | None, where: str) -> None:
    low, high = subject.description.range
    if value is None:
        return
    if (low is not None and value < low) or (high is not None and value > high):
        raise _Broken(f"{where}: {value:.6g} lies outside the declared range [{low}, {high}]")


def _check_direction(subject: _Subject) -> None:
    sign = 1 if subject.description.higher_is_better else -1
    reference = _bumps(_axes())
    best = subject.value(_pair("the reference itself", reference))
    for name, values in (("noise", _noise()), ("its reversal", reference[:, ::-1].copy())):
        other = subject.value(_pair(name, values))
        if sign * best <= sign * other:
            raise _Broken(
                f"the reference itself scores {best:.6g}, no better than {name} with {other:.6g}"
            )


def _check_deterministic(subject: _Subject) -> None:
    for pair in _ordinary():
        if subject.score(pair) != subject.score(pair):
            raise _Broken(f"{pair.name}: two calls give different scores")


def _check_pure(subject: _Subject) -> None:
    for pair in _ordinary():
        before = [pair.method.values.copy(), pair.reference.values.copy()]
        subject.score(pair)
        after = [pair.method.values, pair.reference.values]
        for what, old, new in zip(("map", "reference"), before, after, strict=True):
            if not np.array_equal(old, new):
                raise _Broken(f"{pair.name}: the call changed the {what}")


def _check_content(subject: _Subject) -> None:
    noise, reference = _noise(), _bumps(_axes())
    before = subject.value(_pair("a dense map", noise, reference=reference))
    other = noise.copy()
    other[-_SPECIAL:] = 5 + _noise(seed=2)[-_SPECIAL:]
    changed = reference.copy()
    changed[-_SPECIAL:] = _noise(seed=3)[-_SPECIAL:]
    after = subject.value(_pair("other special rows", other, reference=changed))
    if abs(before - after) > _SAME:
        raise _Broken(f"rows of special tokens change the score from {before:.6g} to {after:.6g}")


# -- degenerate ones ------------------------------------------------------------------------------


def _check_degenerate(subject: _Subject) -> None:
    for pair in _nothing_to_compare():
        found = subject.score(pair)
        if found.value is not None:
            raise _Broken(f"{pair.name}: {found.value:.6g} instead of null with a reason")
    usual = subject.value(_pair("a dense map", _noise()))
    for pair in _hollow_references():
        found = subject.score(pair)
        if found.value is not None and abs(found.value - usual) > _SAME:
            raise _Broken(f"{pair.name}: {found.value:.6g} instead of null with a reason")
    flat_row = _noise()
    flat_row[0] = 0.3
    for pair in (
        _pair("one token", _noise(tokens=1), layout=_axes(tokens=1, special=0)),
        _pair("a constant row", flat_row),
        _pair("the same row for each token", np.tile(_noise()[:1], (_TOKENS, 1))),
    ):
        _check_in_range(subject, subject.score(pair).value, pair.name)


def _check_magnitude(subject: _Subject) -> None:
    noise, reference = _noise(), _bumps(_axes())
    usual = subject.score(_pair("a dense map", noise, reference=reference))
    for factor in (1e30, 1e-30):
        for name, pair in (
            ("the map", _pair("scaled", factor * noise, reference=reference)),
            ("the reference", _pair("scaled", noise, reference=factor * reference)),
        ):
            found = subject.score(pair)
            _check_in_range(subject, found.value, f"{name} times {factor:g}")
            if (found.value is None) != (usual.value is None):
                raise _Broken(f"{name} times {factor:g}: {found.reason}")


def _check_words(subject: _Subject) -> None:
    if "words" not in subject.description.needs:
        raise _NotApplicable("it does not need word times")
    pair = _pair("no word times", _noise())
    with_none = tuple(None for _ in pair.layout.tokens)
    found = [
        subject.score(_Pair(pair.name, pair.method, pair.reference, pair.layout, spans))
        for spans in (None, with_none)
    ]
    if found[0] != found[1]:
        raise _Broken("a manifest without word times and tokens without one give different scores")


# -- batches and ceilings -------------------------------------------------------------------------


def _check_batched(subject: _Subject) -> None:
    if subject.description.batched is None:
        raise _NotApplicable("it has no form for many maps")
    pairs = _ordinary()
    pairs += [p for p in _nothing_to_compare() if p.layout == pairs[0].layout]
    for reference in [pairs[0].reference, *(p.reference for p in _hollow_references())]:
        together = subject.together(pairs, reference)
        for pair, found in zip(pairs, together, strict=True):
            one = _Pair(pair.name, pair.method, reference, pair.layout, pair.spans)
            alone = subject.score(one)
            if not _agree(found, alone):
                raise _Broken(f"{pair.name}: {found} in a batch, {alone} by itself")
            if subject.together([one], reference) != (found,):
                raise _Broken(f"{pair.name}: the score depends on the other maps of the batch")


def _agree(first: Score, second: Score) -> bool:
    if first.value is None or second.value is None:
        return (first.value, first.reason) == (second.value, second.reason)
    return abs(first.value - second.value) <= _SAME


def _check_ceiling(subject: _Subject) -> None:
    description = subject.description
    if description.ceiling is None:
        if not description.no_ceiling:
            raise _Broken("it names neither a ceiling nor the reason why there is none")
        return _check_slug(description.no_ceiling, "no_ceiling")
    axes, compute = _axes(), load_object(description.ceiling)
    mean, wobble = _bumps(axes), 0.1 * _noise()

    def ceiling(half_a: np.ndarray, half_b: np.ndarray) -> Ceiling:
        found = compute(GridMap(mean), GridMap(half_a), GridMap(half_b), axes, _SCORING)
        if not isinstance(found, Ceiling):
            raise _Broken(f"its ceiling returns a {type(found).__name__}, not a Ceiling")
        return found

    upper = ceiling(mean + wobble, mean - wobble).upper
    if upper is None:
        raise _Broken("the ceiling of an ordinary reference is null")
    _check_in_range(subject, upper, "the ceiling")
    missing, broken = np.zeros_like(mean), _broken_at(mean, math.nan)
    for name, half in (("a missing half", missing), ("a NaN in a half", broken)):
        for found in (ceiling(mean, half), ceiling(half, mean)):
            if found.upper is not None or not found.reason:
                raise _Broken(f"{name}: a ceiling of {found.upper} instead of null with a reason")
    return None


CHECKS: Mapping[str, Callable[[_Subject], None]] = {
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
