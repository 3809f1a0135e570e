"""Accept sound results fast: the result schema as nested functions, for thousands of files.

It only says yes where `xbench.schemas` would; what it does not accept, or not understand, goes there for
the words. A test holds the two against each other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from xbench.schemas import schema

Accepts = Callable[[Any], bool]

_TYPES: Mapping[str, Accepts] = {
    "object": lambda v: type(v) is dict,
    "array": lambda v: type(v) is list,
    "string": lambda v: type(v) is str,
    "boolean": lambda v: type(v) is bool,
    "null": lambda v: v is None,
    "integer": lambda v: type(v) is int,
    "number": lambda v: type(v) is int or (type(v) is float and math.isfinite(v)),
}
_WORDS = {"$schema", "$id", "$defs", "title", "description"}


@functools.cache
def accepts(name: str) -> Accepts:
    """Return a function that says yes only to values without a problem under a packaged schema."""
    root = schema(name)
    return _compile(root, root.get("$defs", {}))


def _compile(rule: Any, definitions: Mapping[str, Any]) -> Accepts:
    if rule is True or rule is False:
        return lambda value: bool(rule)
    tests = [
        _keyword(key, rule, definitions)
        for key in rule
        if key not in _WORDS and key not in ("properties", "additionalProperties")
    ]
    if "properties" in rule or "additionalProperties" in rule:
        tests.append(_members(rule, definitions))
    if len(tests) == 1:
        return tests[0]
    return lambda value: all(test(value) for test in tests)


def _keyword(key: str, rule: Mapping[str, Any], definitions: Mapping[str, Any]) -> Accepts:
    wanted = rule[key]
    match key:
        case "$ref":
            return _compile(definitions[wanted.removeprefix("#/$defs/")], definitions)
        case "type":
            kinds = [_TYPES[kind] for kind in ([wanted] if isinstance(wanted, str) else wanted)]
            return kinds[0] if len(kinds) == 1 else lambda v: any(kind(v) for kind in kinds)
        case "enum":
            return lambda v: type(v) is str and v in wanted
        case "const":
            return lambda v: type(v) is type(wanted) and v == wanted
        case "minimum":
            return lambda v: type(v) not in (int, float) or v >= wanted
        case "minItems":
            return lambda v: type(v) is not list or len(v) >= wanted
        case "maxItems":
            return lambda v: type(v) is not list or len(v) <= wanted
        case "required":
            needed = frozenset(wanted)
            return lambda v: type(v) is not dict or needed <= v.keys()
        case "items":
            item = _compile(wanted, definitions)
            return lambda v: type(v) is not list or all(map(item, v))
    return lambda value: False  # not understood: let the authority speak


def _members(rule: Mapping[str, Any], definitions: Mapping[str, Any]) -> Accepts:
    known = {key: _compile(r, definitions) for key, r in rule.get("properties", {}).items()}
    other = _compile(rule.get("additionalProperties", True), definitions)

    def test(value: Any) -> bool:
        if type(value) is not dict:
            return True
        return all(known.get(key, other)(member) for key, member in value.items())

    return test
