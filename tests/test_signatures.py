"""Descriptions and the functions they name: what does not fit is told in one sentence each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from xbench import registry
from xbench.description import (
    CorpusDescription,
    DatasetDescription,
    Description,
    MethodDescription,
    MetricDescription,
    Parameter,
    ReferenceDescription,
    TaskFolder,
)
from xbench.signatures import signature_problems

COMMON: dict[str, Any] = {"name": "x", "version": "1", "summary": "", "source": ""}
LAYERS = Parameter("layers", "str", "", default="all")
HEAD = Parameter("head", "int", "", required=True)
GROUP = Parameter("group", "int", "")  # neither required nor with a default
METHOD = MethodDescription(
    **COMMON, implementation="", kind="attention", distribution=True, parameters=(LAYERS,)
)
METRIC = MetricDescription(
    **COMMON, implementation="", family="agreement", higher_is_better=True, range=(0, 1)
)
REFERENCE = ReferenceDescription(**COMMON, implementation="", space="encoder", estimator="")
DATASET = DatasetDescription(**COMMON, implementation="", licence="")
CORPUS = CorpusDescription(
    **COMMON, implementation="", licence="", layout="", obtain="", clip_seconds=None
)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return the function from a description and its functions, by field, to what does not fit."""

    def check(description: Description, **functions: Any) -> list[str]:
        for field, function in functions.items():
            monkeypatch.setattr(f"xbench.signatures.planted_{field}", function, raising=False)
        paths = {field: f"xbench.signatures:planted_{field}" for field in functions}
        problems = signature_problems(replace(description, **paths))
        return [p.removeprefix("xbench.signatures:planted_implementation ") for p in problems]

    return check


@pytest.mark.parametrize("group", registry.ALL, ids=lambda group: group.kind)
def test_every_registered_description_fits_its_functions(group: registry.Registry[Any]) -> None:
    assert {d.name: p for d in group.descriptions() if (p := signature_problems(d))} == {}


@pytest.mark.parametrize(
    "function",
    [
        lambda trace, *, layers: None,
        lambda trace, layers: None,
        lambda trace, layers="last", *, width=3: None,
        lambda trace, /, layers: None,
        lambda *given, **parameters: None,
        lambda trace, **parameters: None,
        partial(lambda trace, *, width, layers: None, width=3),
        max,  # does not say what it takes
    ],
)
def test_what_fits(function: Any, told: Callable[..., list[str]]) -> None:
    assert told(METHOD, implementation=function) == []


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (
            lambda trace: None,
            "has no keyword 'layers', but is called with it: the description declares that parameter",
        ),
        (
            lambda trace, *, layers, width: None,
            "needs 'width', which no call gives: the description declares no such parameter, and it has no default",
        ),
        (
            lambda trace, heads, /, layers: None,
            "needs 'heads', which no call gives: the description declares no such parameter, and it has no default",
        ),
        (
            lambda *, layers: None,
            "takes 0 arguments by position, but is called with 1: (trace)",
        ),
        (
            lambda layers: None,
            "takes 'layers' by position, where (trace) come, and gets it as a keyword too: "
            "the description declares that parameter",
        ),
        (3, "is not a function but of type int"),
    ],
)
def test_what_does_not_fit(function: Any, problem: str, told: Callable[..., list[str]]) -> None:
    assert told(METHOD, implementation=function) == [problem]


def test_several_problems_are_all_told(told: Callable[..., list[str]]) -> None:
    method = replace(METHOD, parameters=(LAYERS, HEAD))
    assert len(told(method, implementation=lambda trace, *, width: None)) == 3


def test_an_optional_parameter_without_a_default_needs_one_in_the_function(
    told: Callable[..., list[str]],
) -> None:
    method = replace(METHOD, parameters=(GROUP,))
    assert told(method, implementation=lambda trace, *, group=None: None) == []
    (problem,) = told(method, implementation=lambda trace, *, group: None)
    assert problem.startswith("has no default for 'group', which a call may leave out")
    assert told(replace(METHOD, parameters=(HEAD,)), implementation=lambda t, *, head: None) == []


def test_a_function_that_cannot_be_imported_is_told() -> None:
    (problem,) = signature_problems(replace(METHOD, implementation="xbench.nowhere:run"))
    assert problem.startswith("xbench.nowhere:run cannot be imported: ModuleNotFoundError")


def test_a_method_that_learns(told: Callable[..., list[str]]) -> None:
    learns = {"implementation": lambda t, *, layers, fitted: None, "fit": lambda s, *, layers: None}
    assert told(METHOD, **learns) == []
    (problem,) = told(METHOD, **(learns | {"implementation": lambda trace, *, layers: None}))
    assert problem == (
        "has no keyword 'fitted', but is called with it: a method with `fit` gets what it learned"
    )
    (problem,) = told(METHOD, **(learns | {"fit": lambda split: None}))
    assert problem.startswith("xbench.signatures:planted_fit has no keyword 'layers'")


def test_metrics(told: Callable[..., list[str]]) -> None:
    four = lambda method, reference, layout, scoring: None  # noqa: E731
    assert told(METRIC, implementation=four) == []
    (problem,) = told(replace(METRIC, needs=frozenset({"words"})), implementation=four)
    assert problem.startswith("has no keyword 'spans'")
    (problem,) = told(METRIC, implementation=four, batched=four)
    assert problem.startswith("xbench.signatures:planted_batched needs 'scoring'")
    (problem,) = told(METRIC, implementation=four, ceiling=four)
    assert "takes 4 arguments by position, but is called with 5: (mean, half_a" in problem
    (problem,) = told(METRIC, implementation=four, corpus=lambda statistics: None)
    assert "takes 1 arguments by position, but is called with 2: (statistics, quality)" in problem
    curves = replace(METRIC, family="intervention", takes="curves")
    assert told(curves, implementation=lambda curves: None) == []
    assert len(told(curves, implementation=four)) == 3


def test_references_and_datasets(told: Callable[..., list[str]]) -> None:
    assert told(REFERENCE, implementation=lambda case, sampling: None) == []
    assert told(REFERENCE, implementation=lambda case: None) == [
        "takes 1 arguments by position, but is called with 2: (case, sampling)"
    ]
    (problem,) = told(REFERENCE, implementation=lambda c, s: None, restore=lambda arrays: None)
    assert "takes 1 arguments by position, but is called with 2: (arrays, facts)" in problem
    assert told(DATASET, implementation=lambda split: None) == []
    assert told(CORPUS, implementation=lambda root, split, languages, targets: None) == []
    assert len(told(CORPUS, implementation=lambda split: None)) == 1
    folder = TaskFolder(**COMMON, implementation="nowhere:at_all")
    assert signature_problems(folder) == [], "it says nothing about its function"
