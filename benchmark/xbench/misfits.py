"""What in a description is not what its fields say: a value of another type, or one that does not exist."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Set
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from xbench.errors import nearest


@functools.cache
def _types(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def misfits(described: Any) -> list[str]:
    """Return a sentence for each field of a dataclass that holds something else than its annotation says."""
    return [
        f"{name} is {value!r}, {expected}"
        for name, kind in _types(type(described)).items()  # type: ignore[arg-type]  # a class is hashable
        if (expected := _expected(value := getattr(described, name, None), kind))
    ]


def _expected(value: Any, kind: Any) -> str | None:
    """Say what a value of this annotation must be, where it is something else."""
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    known = [
        value for option in options if get_origin(option) is Literal for value in get_args(option)
    ]
    types = tuple(get_origin(o) or o for o in options if get_origin(o) is not Literal)
    if isinstance(value, str) and not is_text(value):
        return "which is no text: it holds half of a surrogate pair"
    if value in known or isinstance(value, types):
        return next(filter(None, (_expected_within(value, each) for each in options)), None)
    if float in types and isinstance(value, int):
        return None
    if known:
        return f"which does not exist{nearest(str(value), known)}; there is {', '.join(known)}"
    return f"expected {' or '.join('None' if t is type(None) else t.__name__ for t in types)}"


def _expected_within(value: Any, kind: Any) -> str | None:
    """Say the same of the items of a tuple or set whose annotation names one kind for all of them."""
    items = [each for each in get_args(kind) if each is not Ellipsis]
    if get_origin(kind) not in (tuple, frozenset) or len(items) != 1 or isinstance(value, str):
        return None
    expected = next(filter(None, (_expected(item, items[0]) for item in value)), None)
    return expected and f"in it {expected}"


def is_text(text: str) -> bool:
    """Say whether a text can be written: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_name(text: str) -> bool:
    """Say whether a text can name what is registered, in commands and in files."""
    return re.fullmatch(r"\w[\w.-]*", text) is not None


def strange(needs: Iterable[str], known: Set[str]) -> list[str]:
    """Return what is asked for and does not exist."""
    return [
        f"needs '{need}', which does not exist{nearest(need, known)}; there is {', '.join(sorted(known))}"
        for need in sorted(needs)
        if need not in known
    ]
