"""`FILE.py:NAME` in the place of a registered name: a method, metric or reference out of a file, without a package.

The file is imported under its own name, so that descriptions in it name their code as they would in a package
(`implementation="last_layer:last_layer"`), and so that it can import modules that lie beside it.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from xbench import registry
from xbench.description import (
    Description,
    MetricDescription,
    ReferenceDescription,
    load_object,
)
from xbench.errors import UsageError, in_one_line, nearest
from xbench.runner.fingerprint import fingerprint
from xbench.spec import Call
from xbench.surroundings import undisturbed


def is_in_file(name: str) -> bool:
    """Say whether a name is of the form FILE.py:NAME."""
    return re.fullmatch(r".+\.py:\w+", name) is not None


def from_file(name: str) -> Any:
    """Return what FILE.py:NAME names; raises UsageError where the file does not run or has no such name."""
    file, _, wanted = name.rpartition(":")
    module = _module(Path(file).resolve())
    if not hasattr(module, wanted):
        known = [n for n, value in vars(module).items() if n[0] != "_" and _is_own(value, module)]
        raise UsageError(f"{file}: has no '{wanted}'{nearest(wanted, known)}")
    return getattr(module, wanted)


def _is_own(value: Any, module: ModuleType) -> bool:
    return getattr(value, "__module__", None) == module.__name__


@cache  # a file is run once, and several things of it may be asked for
def _module(path: Path) -> ModuleType:
    shown, name = path.name, path.stem
    if not path.is_file():
        raise UsageError(f"{shown}: there is no such file")
    if _is_taken(name, path):
        raise UsageError(f"{shown}: '{name}' is the name of another module; rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _beside(path), undisturbed(importing=True) as changed:
            spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # noqa: BLE001  # somebody's file may fail in any way
        del sys.modules[name]
        lines = [
            f.lineno for f in traceback.extract_tb(problem.__traceback__) if f.filename == str(path)
        ]
        line = getattr(problem, "lineno", None) or (lines[-1] if lines else 1)
        raise UsageError(f"{shown}:{line}: it cannot be imported: {in_one_line(problem)}") from None
    if changed:
        del sys.modules[name]
        raise UsageError(
            f"{shown}: importing it changed {changed[0]}, which all methods share; leave it as it was"
        )
    return module


def _is_taken(name: str, path: Path) -> bool:
    if not name.isidentifier() or name in sys.modules:
        return True
    found = importlib.util.find_spec(name)
    return found is not None and (not found.origin or Path(found.origin).resolve() != path)


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    sys.path.insert(0, str(path.parent))
    try:
        yield
    finally:
        sys.path.remove(str(path.parent))


def with_local_metric(call: Call) -> Call:
    """Register the metric that a call names as FILE.py:NAME for this process; return the call by its plain name.

    Other calls, and the `+` that joins a metric to others, stay as they are.
    """
    plus = "+" if call.name.startswith("+") else ""
    plain = Call(call.name.removeprefix("+"), call.params)
    own = _with_local(
        plain, registry.metrics, MetricDescription, "what is better and in which range"
    )
    return Call(f"{plus}{own.name}", own.params)


def with_local_reference(call: Call) -> Call:
    """Register the reference that a call names as FILE.py:NAME likewise."""
    return _with_local(
        call,
        registry.references,
        ReferenceDescription,
        "where its cells live and how it is estimated",
    )


def _with_local(
    call: Call, kind: registry.Registry[Any], description: type[Description], says: str
) -> Call:
    """Register what a call names as FILE.py:NAME; says: what its description tells that a function does not."""
    name = call.name
    if not is_in_file(name):
        return call
    found = from_file(name)
    if not isinstance(found, description):
        raise UsageError(
            f"{name} is a {type(found).__name__}; a {kind.kind} is an xbench.{description.__name__}, "
            f"which says {says}"
        )
    if problems := found.problems():
        raise UsageError(f"{name}: {problems[0]}")
    restore = load_object(found.restore) if isinstance(found, ReferenceDescription) else None
    code = fingerprint(found.load(), restore)[:12]
    kind.add_local(replace(found, version=f"{found.version}+{code}"), name)
    return Call(found.name, call.params)
