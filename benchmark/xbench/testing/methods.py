"""The contract of a method, as checks that run on any registered or described method.

    signature      the functions it names take the declared parameters as keywords, and need no other
    map            it returns [token, frame] or [token, melframe, mel], one row per generated token, and
                   no negative value unless it is declared `signed`
    finite         no NaN, no infinity
    distribution   rows sum to one if it is declared a `distribution`
    deterministic  the same call gives the same map
    seed           another value of a parameter `seed` gives another map
    independent    the map of an utterance does not depend on the calls before it, longer or shorter
    one-pass       it gives the same map from a trace that holds more than it needs
    hooks          it leaves no hook and no attribute on any module
    model          parameters, buffers, gradients, flags and training mode are what they were
    trace          trace, spectrogram and hypothesis are what they were
    surroundings   torch's and numpy's random numbers, gradient mode and default type are what they were
    target         a method with gradients, or with a parameter `target`, explains the token it is asked
                   about: another token changes its row, and no row before it
    rows           of a method that does not look at its own token: another token leaves its row and those before it as
                   they were, and changes the next one, which is predicted from it
    refuses        a foreign model family, or a layer that does not exist, is `Unsupported`, not a crash

A check that a method cannot pass, for a reason, is declared in `expected_failures`; a declared failure that passes is
a failure, so that declarations do not outlive their reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32

from xbench import registry
from xbench.case import Case
from xbench.description import CAPTURES, MethodDescription, load_object
from xbench.errors import Unsupported
from xbench.fitting import FitCase, FitSplit, Fitted
from xbench.maps import GridMap, on_encoder_grid
from xbench.methods.compute import compute_map
from xbench.metrics import Score
from xbench.metrics.agreement import pearson
from xbench.models.loading import load_model
from xbench.models.protocol import SpeechModel
from xbench.references.estimation import Sampling
from xbench.references.spes import spes_encoder
from xbench.spec import Call, Scalar, Scoring
from xbench.testing.battery import Battery, Broken, CheckResult, NotApplicable
from xbench.testing.calls import MISFIT, check_signature, completed
from xbench.testing.demo_clips import demo_cases
from xbench.testing.state import Watched, watch

Map = Float32[np.ndarray, "token *cells"]

_SAME = 1e-4  # of the largest value of a row: rounding of the same computation in other company
_OTHER = 1e-3
_MASKS = 64  # of the reference that methods with a `fit` learn from


def check_method(
    method: str | Call | MethodDescription,
    model: SpeechModel | str | None = None,
    cases: Sequence[Case] | None = None,
    *,
    params: Mapping[str, Scalar] | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> list[CheckResult]:
    """Run the whole battery; never raises for what the method does.

    method: a registered name, with parameters if wanted (`rise:samples=50`), or a description, whose parameters
    `params` gives.
    model: a name or a loaded model, by default the embedded `xbench-tiny`. cases: at least two of
    different length, by default packaged clips. expected_failures: check to reason.
    Raises UsageError for an unknown method, parameter or check.
    """
    description, call = _resolve(method, params or {})
    loaded = cases[0].model if cases and model is None else model
    if loaded is None or isinstance(loaded, str):
        loaded = load_model(loaded or "xbench-tiny", device="cpu")
    chosen = sorted(cases or demo_cases(loaded), key=lambda c: len(c.hypothesis.tokens))
    subject = _Subject(description, call, tuple(chosen))
    refusal = f"unsupported by model '{loaded.info.name}'"
    return BATTERY.run(subject, expected_failures, refusal=refusal)


def _resolve(
    method: str | Call | MethodDescription, params: Mapping[str, Scalar]
) -> tuple[MethodDescription, Call]:
    if isinstance(method, MethodDescription):
        description, given = method, Call(method.name)
    else:
        given = Call.parse(method) if isinstance(method, str) else method
        description = registry.methods.get(given.name)
    return description, completed(description, given.with_params(**params))


@dataclass(frozen=True)
class _Subject:
    """A method with complete parameters, and the cases it is tried on, the shortest first.

    Whatever a method remembers of a longer case would not show if that came first.
    """

    description: MethodDescription
    call: Call
    cases: tuple[Case, ...]

    def traced(self, index: int, extra: frozenset[str] = frozenset()) -> Case:
        """Return one case with a fresh trace of what the method needs."""
        return self.retraced(self.cases[index], extra)

    def retraced(self, case: Case, extra: frozenset[str] = frozenset()) -> Case:
        """Return a case with a fresh trace, and with a partner where the method wants one."""
        needs = (self.description.needs & CAPTURES) | extra
        partner = None
        if "partner" in self.description.needs:
            partner = _traced(next(c for c in self.cases if c.key != case.key), needs)
        return replace(_traced(case, needs), partner=partner)

    def map(self, case: Case, **params: Scalar) -> Map:
        return compute_map(self.description, self.call.with_params(**params), case, self.fitted)

    @cached_property
    def fitted(self) -> Fitted | None:
        """What the method learned from the cases themselves, if it learns."""
        if self.description.fit is None:
            return None
        learned = load_object(self.description.fit)(_split(self.cases), **self.call.given)
        return Fitted(learned, "oracle", len(self.cases))

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        """The map of each case, in order, computed once."""
        return (self.first[0], *(self.map(self.traced(i)) for i in range(1, len(self.cases))))

    @cached_property
    def first(self) -> tuple[Map, Watched]:
        """The first map of all, and what everything around it was before and after."""
        case = self.traced(0)
        return watch(case, lambda: self.map(case))


def _traced(case: Case, needs: frozenset[str]) -> Case:
    return replace(case, trace=case.model.trace(case.features, case.hypothesis, needs))


def _split(cases: Sequence[Case]) -> FitSplit:
    def learn_from(case: Case) -> FitCase:
        trace = case.model.trace(case.features, case.hypothesis, frozenset())
        reference = spes_encoder(case, Sampling(), masks=_MASKS, p=0.7).mean()
        return FitCase(trace, on_encoder_grid(reference, case.layout, Scoring()))

    def score(grid: GridMap, case: FitCase) -> Score:
        return pearson(grid, case.reference, case.trace.layout, Scoring())

    return FitSplit(tuple(learn_from(case) for case in cases), score)


def _same(found: Map, expected: Map) -> bool:
    if found.shape != expected.shape:
        return False
    rows = range(len(expected))
    return all(_difference(found[row], expected[row]) <= _SAME for row in rows)


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference as a share of the largest value."""
    largest = float(np.abs(expected).max())
    difference = float(np.abs(found - expected).max())
    return difference / largest if largest > 0 else difference


def _check_signature(subject: _Subject) -> None:
    check_signature(subject.description)


# -- the map --------------------------------------------------------------------------------------


def _check_map(subject: _Subject) -> None:
    assert len(subject.maps) == len(subject.cases)


def _check_finite(subject: _Subject) -> None:
    for values in subject.maps:
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise Broken(f"{len(bad)} values are not finite, the first at {bad[0].tolist()}")


def _check_distribution(subject: _Subject) -> None:
    if not subject.description.distribution:
        raise NotApplicable("it is not declared a distribution")
    for values in subject.maps:
        sums = values.reshape(len(values), -1).sum(1, dtype=np.float64)
        worst = int(np.abs(sums - 1).argmax())
        if abs(sums[worst] - 1) > 1e-3:
            raise Broken(f"row {worst} sums to {sums[worst]:.6g}, not to 1")


# -- the same again -------------------------------------------------------------------------------


def _check_deterministic(subject: _Subject) -> None:
    case, first = subject.traced(0), subject.maps[0]
    if not _same(subject.map(case), first):
        raise Broken("two calls with the same parameters give different maps")


def _check_seed(subject: _Subject) -> None:
    params = subject.call.given
    if "seed" not in params:
        raise NotApplicable("it has no parameter 'seed'")
    if np.array_equal(
        subject.map(subject.traced(0), seed=int(params["seed"]) + 1), subject.maps[0]
    ):
        raise Broken("another seed gives the same map")


def _check_independent(subject: _Subject) -> None:
    if len({len(case.hypothesis.tokens) for case in subject.cases}) < 2:
        raise NotApplicable("it takes two cases of different length")
    for index in reversed(range(len(subject.cases))):
        if not _same(subject.map(subject.traced(index)), subject.maps[index]):
            raise Broken(f"the map of case {index} depends on the calls before it")


def _check_one_pass(subject: _Subject) -> None:
    if not _same(subject.map(subject.traced(0, CAPTURES)), subject.maps[0]):
        raise Broken("the map changes when the trace also holds what other methods need")


# -- what must stay as it was ---------------------------------------------------------------------


def _unchanged(what: str) -> Callable[[_Subject], None]:
    return lambda subject: subject.first[1].refuse_changes(what)


# -- the target -----------------------------------------------------------------------------------


def _check_target(subject: _Subject) -> None:
    has_target = any(p.name == "target" for p in subject.description.parameters)
    if not (has_target or subject.description.uses_gradients):
        raise NotApplicable("it does not say that it explains a target")
    case = subject.cases[0]
    row = len(case.hypothesis.tokens) // 2
    asked = subject.maps[0]
    other = subject.map(subject.retraced(_with_other_token(case, row)))
    if _difference(other[row], asked[row]) < _OTHER:
        raise Broken(f"another token {row} leaves its row as it was")
    for earlier in range(row):
        if _difference(other[earlier], asked[earlier]) > 10 * _SAME:
            raise Broken(f"another token {row} changes row {earlier}, which comes before it")


def _check_rows(subject: _Subject) -> None:
    description = subject.description
    has_target = any(p.name == "target" for p in description.parameters)
    if has_target or description.uses_gradients or description.kind == "control":
        raise NotApplicable("its rows need not follow from the tokens before them alone")
    case = subject.cases[-1]
    row = len(case.hypothesis.tokens) // 2
    asked = subject.maps[-1]
    other = subject.map(subject.retraced(_with_other_token(case, row)))
    changes = [_difference(other[each], asked[each]) for each in range(len(asked))]
    if any(change > 10 * _SAME for change in changes[:row]):
        raise NotApplicable("its rows depend on each other")
    if any(np.unique(values).size <= 2 for values in asked):
        raise NotApplicable("its rows have two values: what changes a little need not show in them")
    if changes[row] > 10 * _SAME:
        raise Broken(f"another token {row} changes its own row: are rows one token early?")
    if row + 1 < len(asked) and changes[row + 1] < _OTHER:
        raise Broken(
            f"another token {row} leaves row {row + 1} as it was: are rows one token late?"
        )


def _with_other_token(case: Case, row: int) -> Case:
    hypothesis = case.hypothesis
    others = [i for i in hypothesis.content if hypothesis.tokens[i] != hypothesis.tokens[row]]
    if not others:
        raise NotApplicable("the hypothesis has only one kind of token")
    tokens, texts = list(hypothesis.tokens), list(hypothesis.texts)
    tokens[row], texts[row] = tokens[others[-1]], texts[others[-1]]
    changed = replace(hypothesis, tokens=tuple(tokens), texts=tuple(texts))
    return replace(case, hypothesis=changed)


# -- what it cannot do ----------------------------------------------------------------------------


def _foreign(model: SpeechModel) -> SpeechModel:
    """Return a model of an unknown family: the protocol's members and nothing behind them."""

    def delegating(name: str) -> Any:
        return lambda self, *args, **options: getattr(model, name)(*args, **options)

    members = {name for name in vars(SpeechModel) if not name.startswith("_")} - {"info"}
    body = {name: delegating(name) for name in members}
    body["info"] = property(lambda self: replace(model.info, family="foreign"))
    foreign: SpeechModel = type("Foreign", (), body)()
    return foreign


def _check_refuses(subject: _Subject) -> None:
    case = subject.traced(0)
    foreign = replace(case, model=_foreign(case.model))
    try:
        found = subject.map(foreign)
    except Unsupported as reason:
        if not str(reason).strip():
            raise Broken("it refuses a foreign model without a reason") from None
    else:
        if subject.description.families:
            raise Broken("it explains a family that it does not declare")
        if not _same(found, subject.maps[0]):
            raise Broken("a foreign model with the same outputs gives another map")
    for parameter in subject.description.parameters:
        if parameter.type != "indices" and parameter.sweep is None:
            continue
        value: Scalar = "9999" if parameter.type == "indices" else 9999
        try:
            subject.map(case, **{parameter.name: value})
        except Unsupported:
            continue
        raise Broken(f"{parameter.name}={value} does not exist, and it does not say so")


CHECKS: Mapping[str, Callable[[_Subject], None]] = {
    "signature": _check_signature,
    "map": _check_map,
    "finite": _check_finite,
    "distribution": _check_distribution,
    "deterministic": _check_deterministic,
    "seed": _check_seed,
    "independent": _check_independent,
    "one-pass": _check_one_pass,
    "hooks": _unchanged("hooks"),
    "model": _unchanged("model"),
    "trace": _unchanged("case"),
    "surroundings": _unchanged("surroundings"),
    "target": _check_target,
    "rows": _check_rows,
    "refuses": _check_refuses,
}
BATTERY = Battery(CHECKS, {"signature": MISFIT, "map": "there is no map"})
