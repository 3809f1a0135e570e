"""Whether the functions that a description names can be called as the benchmark calls them.

    method                 f(trace or case, **parameters[, fitted])
      fit                  f(split, **parameters)
    metric                 f(method, reference, layout, scoring, **parameters[, spans])
                           f(curves or effects or deleted or inserted or map, **parameters)
      batched              f(maps, reference, scoring, **parameters[, spans])
      ceiling              f(mean, half_a, half_b, layout, scoring)
      corpus               f(statistics, quality)
    reference              f(case, sampling, **parameters)
      restore              f(arrays, facts)
    dataset                f(split)
    corpus of recordings   f(root, split, languages, targets, **parameters)

Every parameter that is required or has a default comes with each call; one that is neither comes only where the user
gives it. Reading a signature imports the function, so listing never does it: `xbench check` does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from xbench.description import (
    CorpusDescription,
    DatasetDescription,
    Description,
    MethodDescription,
    MetricDescription,
    Parameter,
    ReferenceDescription,
    load_object,
)

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Use:
    """One function that a description names, and what it is called with.

    given: what it is given by position. parameters: those of the description, as keywords. also: keywords that the
    benchmark adds, each with why.
    """

    path: str
    given: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    also: tuple[tuple[str, str], ...] = ()


def signature_problems(description: Description) -> list[str]:
    """Return what keeps the functions of a description from being called, one sentence each."""
    return [problem for use in uses(description) for problem in _problems(use)]


def uses(description: Description) -> list[Use]:
    """Return the functions that a description names; none for a kind that says nothing about them."""
    own = description.parameters
    if isinstance(description, MethodDescription):
        return _method_uses(description)
    if isinstance(description, MetricDescription):
        return _metric_uses(description)
    if isinstance(description, ReferenceDescription):
        return [
            Use(description.implementation, ("case", "sampling"), own),
            Use(description.restore, ("arrays", "facts")),
        ]
    if isinstance(description, CorpusDescription):
        return [Use(description.implementation, ("root", "split", "languages", "targets"), own)]
    if isinstance(description, DatasetDescription):
        return [Use(description.implementation, ("split",))]
    return []


def _method_uses(method: MethodDescription) -> list[Use]:
    own = method.parameters
    if method.fit is None:
        return [Use(method.implementation, (method.takes,), own)]
    learned = (("fitted", "a method with `fit` gets what it learned"),)
    return [
        Use(method.implementation, (method.takes,), own, learned),
        Use(method.fit, ("split",), own),
    ]


def _metric_uses(metric: MetricDescription) -> list[Use]:
    own = tuple(p for p in metric.parameters if p.name not in metric.measured)
    spans = (("spans", "a metric that needs `words` gets their times"),)
    also = spans if "words" in metric.needs else ()
    compared = ("method", "reference", "layout", "scoring")
    given = compared if metric.takes == "reference" else (metric.takes,)
    found = [Use(metric.implementation, given, own, also)]
    if metric.batched:
        found.append(Use(metric.batched, ("maps", "reference", "scoring"), own, also))
    if metric.ceiling:
        found.append(Use(metric.ceiling, ("mean", "half_a", "half_b", "layout", "scoring")))
    if metric.corpus:
        found.append(Use(metric.corpus, ("statistics", "quality")))
    return found


def _problems(use: Use) -> Iterator[str]:
    try:
        function: Callable[..., Any] = load_object(use.path)
    except Exception as problem:  # noqa: BLE001  # importing a stranger's module may fail in any way
        yield f"{use.path} cannot be imported: {type(problem).__name__}: {problem}"
        return
    if not callable(function):
        yield f"{use.path} is not a function but of type {type(function).__name__}"
        return
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions written in C do not say what they take
        return
    for misfit in _misfits(use, list(signature.parameters.values())):
        yield f"{use.path} {misfit}"


def _misfits(use: Use, taken: list[inspect.Parameter]) -> Iterator[str]:
    called = f"({', '.join(use.given)})"
    places = [p for p in taken if p.kind in _BY_POSITION]
    any_number = any(p.kind is p.VAR_POSITIONAL for p in taken)
    any_keyword = any(p.kind is p.VAR_KEYWORD for p in taken)
    if len(places) < len(use.given) and not any_number:
        yield f"takes {len(places)} arguments by position, but is called with {len(use.given)}: {called}"
    filled, rest = places[: len(use.given)], places[len(use.given) :]
    keywords = {p.name: p for p in taken if p.kind is p.KEYWORD_ONLY} | {
        p.name: p for p in rest if p.kind is p.POSITIONAL_OR_KEYWORD
    }
    reasons = {p.name: "the description declares that parameter" for p in use.parameters} | dict(
        use.also
    )
    for name, reason in reasons.items():
        if any(p.name == name and p.kind is p.POSITIONAL_OR_KEYWORD for p in filled):
            yield f"takes '{name}' by position, where {called} come, and gets it as a keyword too: {reason}"
        elif name not in keywords and not any_keyword:
            yield f"has no keyword '{name}', but is called with it: {reason}"
    for extra in [*keywords.values(), *(p for p in rest if p.kind is p.POSITIONAL_ONLY)]:
        if extra.name not in reasons and extra.default is extra.empty:
            yield (
                f"needs '{extra.name}', which no call gives: the description declares no such parameter, "
                "and it has no default"
            )
    for parameter in use.parameters:
        optional = not parameter.required and parameter.default is None
        taking = keywords.get(parameter.name)
        if optional and taking and taking.default is taking.empty:
            yield (
                f"has no default for '{parameter.name}', which a call may leave out: the description declares it "
                "neither required nor with a default"
            )
