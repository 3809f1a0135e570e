"""Whether a model offers something is asked in one way, which holds for wrapped models and every Python alike."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import xbench
from xbench.models import optional
from xbench.models.metered import MeteredModel
from xbench.models.optional import offers
from xbench.models.protocol import SpeechModel

CAPABILITIES: dict[str, type] = {
    name: value
    for name, value in vars(optional).items()
    if isinstance(value, type) and value.__module__ == optional.__name__
}
protocols = pytest.mark.parametrize("capability", CAPABILITIES.values(), ids=list(CAPABILITIES))


class Delegating:
    """A stranger's wrapper: it has nothing of its own."""

    def __init__(self, model: Any, without: str = "") -> None:
        self._model, self._without = model, without

    def __getattr__(self, name: str) -> Any:
        if name == self._without:
            raise AttributeError(name)
        return getattr(self._model, name)


def members(capability: type) -> set[str]:
    return {name for name in vars(capability) if not name.startswith("_")}


def test_every_optional_protocol_is_known_here() -> None:
    assert set(CAPABILITIES) == {
        "WritesEncoded",
        "WritesTokens",
        "RandomisesParts",
        "MasksInput",
        "RemovesFrames",
        "FreezesPadding",
        "ShowsAttention",
        "Inspectable",
        "ShowsNetwork",
        "TakesNetwork",
    }


@protocols
def test_whisper_offers_everything_however_it_is_wrapped(tiny: Any, capability: type) -> None:
    for model in (tiny, MeteredModel(tiny), Delegating(tiny)):
        assert offers(model, capability)


@protocols
def test_a_toy_model_offers_nothing_however_it_is_wrapped(planted: Any, capability: type) -> None:
    for model in (planted, MeteredModel(planted), Delegating(planted)):
        assert not offers(model, capability)
        assert offers(model, SpeechModel)


@protocols
def test_every_member_is_needed(tiny: Any, capability: type) -> None:
    assert members(capability)
    for name in members(capability):
        assert not offers(Delegating(tiny, without=name), capability)


def test_a_member_that_is_none_is_not_offered(planted: Any) -> None:
    class Without(Delegating):
        decode_encoded = None

    class With(Delegating):
        def decode_encoded(self) -> None:
            """Only its presence counts."""

    assert not offers(Without(planted), optional.WritesEncoded)
    assert offers(With(planted), optional.WritesEncoded)


# -- no other way of asking -----------------------------------------------------------------------


def asked_by_isinstance(code: str, names: set[str]) -> list[int]:
    """Return the lines on which `isinstance` or `issubclass` is given one of these names."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"isinstance", "issubclass"}
        for part in ast.walk(node.args[1])
        if (isinstance(part, ast.Name) and part.id in names)
        or (isinstance(part, ast.Attribute) and part.attr in names)
    ]


def test_the_package_never_asks_a_model_by_isinstance() -> None:
    names = {*CAPABILITIES, "SpeechModel"}
    for path in Path(xbench.__file__).parent.rglob("*.py"):
        assert asked_by_isinstance(path.read_text("utf-8"), names) == [], path


def test_the_check_for_isinstance_can_fail() -> None:
    code = "\n".join(
        (
            "isinstance(model, Inspectable)",
            "isinstance(model, int | optional.Inspectable)",
            "isinstance(model, (str, Inspectable))",
            "offers(model, Inspectable)",
        )
    )
    assert asked_by_isinstance(code, {"Inspectable"}) == [1, 2, 3]
