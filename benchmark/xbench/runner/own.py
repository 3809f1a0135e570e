"""Methods and models of one's own, without a package: a function or a loaded model in place of a name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, Literal, TypeVar

from xbench import registry
from xbench.description import MethodDescription, OwnMethod
from xbench.errors import UsageError
from xbench.inputs import visible
from xbench.misfits import is_name
from xbench.runner.fingerprint import fingerprint

M = TypeVar("M", bound=MethodDescription)


def method(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    space: Literal["encoder", "input"] = "encoder",
    takes: Literal["trace", "case"] = "trace",
    kind: Literal["attention", "gradient", "perturbation", "control"] = "attention",
    signed: bool = False,
    distribution: bool = False,
    needs: Iterable[str] = (),
    summary: str = "",
) -> OwnMethod:
    """Describe a function of one's own as a method that `RunSpec.methods` and `explain` take.

    `xbench.MethodDescription` says what the arguments mean. A function without a description is
    `method(function)`: it is given the `xbench.Trace` and returns a tensor [token, frame] without negative values.
    Its maps are computed again when the function changes. Results of it cannot be submitted, since nobody else has
    the function: `xbench new method` makes a package of it.

    Raises:
        UsageError: it has no name or a registered one, or cannot be called with the trace (or case) alone.
    """
    named = str(name or getattr(function, "__name__", ""))
    if not is_name(named):
        raise UsageError(
            f"the function {named or type(function).__name__} needs a name of letters, digits, '_', '-' and '.'; "
            "give one: xbench.method(function, name=...)"
        )
    _check_free(named)
    if not callable(function):
        raise UsageError(f"method '{named}' is a {type(function).__name__}, not a function")
    try:
        inspect.signature(function).bind(None)
    except ValueError:  # a compiled function says nothing of its arguments
        pass
    except TypeError as problem:
        raise UsageError(
            f"function '{named}' is called with the {takes} alone, but has another signature: {problem}"
        ) from None
    described = OwnMethod(
        name=named,
        version=fingerprint(function)[:12],
        summary=summary,
        source="",
        implementation=f"{function.__module__}:{named}",
        kind=kind,
        space=space,
        signed=signed,
        distribution=distribution,
        takes=takes,
        needs=frozenset(needs),
        function=function,
    )
    return _sound(described)


def described(given: Any) -> OwnMethod:
    """Return the description of a method that is given as it is: a function, or a description nobody registers."""
    if isinstance(given, OwnMethod):
        return _sound(given)
    if isinstance(given, MethodDescription):
        _sound(given)
        _check_free(given.name)
        function = given.load()
        code = fingerprint(function, given.load_fit())
        plain = {field.name: getattr(given, field.name) for field in fields(given)}
        return OwnMethod(**{**plain, "version": f"{given.version}+{code[:12]}"}, function=function)
    if callable(given):
        return method(given)
    raise UsageError(f"a method is a name, a call or a function, not a {type(given).__name__}")


def _sound(given: M) -> M:
    if problems := given.problems():
        raise UsageError(f"method {visible(str(given.name))!r}: {visible(problems[0])}")
    return given


def _check_free(name: str) -> None:
    if name in {entry.name for entry in registry.methods.entries()}:
        raise UsageError(
            f"function '{name}' bears the name of a registered method; give it another: "
            "xbench.method(function, name=...)"
        )


def check_model(given: Any) -> Any:
    """Return a loaded model as it is; raise UsageError for an object that is none."""
    from xbench.models.protocol import ModelInfo, SpeechModel

    lacking = [name for name in vars(SpeechModel) if name[0] != "_" and not hasattr(given, name)]
    if lacking or not isinstance(given.info, ModelInfo):
        what = f"it lacks {', '.join(lacking)}" if lacking else "its `info` is no xbench.ModelInfo"
        raise UsageError(
            f"a {type(given).__name__} is no model that can be explained: {what}; give a name, what "
            "xbench.load_model returns, or an object with all that xbench.SpeechModel asks for"
        )
    return given
