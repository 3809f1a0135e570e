"""What a function does, as a hash: two functions that share it give the same map of the same utterance.

The hash is made of the compiled code and of everything the code refers to: defaults, variables of the enclosing
function, globals, and the functions of the session that it calls. Comments and places do not count. Packages count with
their version. Where the code refers to something that cannot be told (an open file, a model), the hash is a new one
each time: such a function is computed again in every run, since nothing says whether it still does the same.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import secrets
import sys
import types
from collections.abc import Callable, Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import numpy as np

from xbench.misfits import is_text
from xbench.spec import canonical_json, content_hash


@functools.cache
def source_digest(module: str) -> str:
    """Return the hash of all Python files of the package of a module, as they were when first asked for."""
    found = importlib.util.find_spec(module.partition(".")[0])
    folders = [Path(place) for place in (found and found.submodule_search_locations) or ()]
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    if not folders and found and found.origin:
        files = [Path(found.origin)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


class _CannotTell(Exception):
    """A value of which nobody can say whether it is still the same."""


def fingerprint(*functions: Callable[..., Any] | None) -> str:
    """Return 64 hexadecimal digits that change when what these functions do may have changed."""
    try:
        return content_hash(_tell(functions, {}))
    except _CannotTell:
        return secrets.token_hex(32)


def _tell(value: Any, seen: dict[int, int]) -> Any:
    """Return plain data that equal values share; `seen` numbers the functions on the way, which may call each other."""
    if isinstance(value, str) and not is_text(value):
        return ["no text", ascii(value)]
    if value is None or isinstance(value, bool | int | str):
        return [type(value).__name__, value]
    if isinstance(value, float | complex | bytes) or value is Ellipsis:
        return [type(value).__name__, repr(value)]
    if isinstance(value, tuple | list):
        return [type(value).__name__, [_tell(item, seen) for item in value]]
    if isinstance(value, set | frozenset):
        items = sorted(canonical_json(_tell(item, seen)) for item in value)
        return [type(value).__name__, items]
    if isinstance(value, Mapping):
        return ["mapping", [[_tell(k, seen), _tell(v, seen)] for k, v in value.items()]]
    if isinstance(value, types.CodeType):
        return _code(value, seen)
    if isinstance(value, functools.partial):
        return ["partial", _tell((value.func, value.args, value.keywords), seen)]
    if isinstance(value, types.MethodType):
        return ["method", _tell((value.__func__, value.__self__), seen)]
    return _named(value) or _function(value, seen) or _array(value)


def _code(code: types.CodeType, seen: dict[int, int]) -> Any:
    names = [code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars]
    raw = (code.co_code + code.co_exceptiontable).hex()
    return ["code", raw, code.co_flags, names, _tell(code.co_consts, seen)]


def _function(value: Any, seen: dict[int, int]) -> Any:
    if not isinstance(value, types.FunctionType):
        return None
    if id(value) in seen:
        return ["function", seen[id(value)]]
    seen[id(value)] = len(seen)
    try:
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
    except ValueError:  # a variable that has no value yet
        raise _CannotTell from None
    found = {
        name: value.__globals__[name] for name in _names(value.__code__) & set(value.__globals__)
    }
    bound = (value.__defaults__, value.__kwdefaults__, cells, dict(sorted(found.items())))
    return ["function", _tell((value.__code__, *bound), seen)]


def _names(code: types.CodeType) -> set[str]:
    """Return the names that code looks up, that of functions within it included."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _named(value: Any) -> Any:
    """Return name and version of what a package or Python itself brings; None for what the session brings."""
    if isinstance(value, types.ModuleType):
        module, name = value.__name__, ""
    elif isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        module, name = value.__module__ or "", value.__qualname__
    else:
        return None
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names and top != "__main__":
        return ["named", module, name, sys.version]
    distributions = _distributions().get(top)
    if not distributions:
        return None
    return ["named", module, name, [version(distribution) for distribution in distributions]]


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _array(value: Any) -> Any:
    """Tell an array or a tensor by its numbers."""
    if isinstance(value, type) or not hasattr(value, "__array__"):
        raise _CannotTell
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except Exception:  # noqa: BLE001  # a stranger's array; or bfloat16, which numpy lacks
        raise _CannotTell from None
    if array.dtype.hasobject:
        raise _CannotTell
    return ["array", str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()]
