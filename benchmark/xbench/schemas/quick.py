"""Accept sound files fast: a schema as nested functions, for thousands of results or lines of manifests.

It only says yes where `xbench.schemas` would; what it does not accept, or not understand, goes there for
the words. A test holds the two against each other.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xbench.schemas import schema

Accepts = Callable[[Any], bool]

_TYPES: Mapping[str, frozenset[type]] = {
    "object": frozenset({dict}),
    "array": frozenset({list}),
    "string": frozenset({str}),
    "boolean": frozenset({bool}),
    "null": frozenset({type(None)}),
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
}
# The types of which a keyword limits the values.
_LIMITS: Mapping[str, frozenset[type]] = {
    **dict.fromkeys(("minimum", "maximum"), frozenset({int, float})),
    **dict.fromkeys(("minLength", "maxLength", "pattern"), frozenset({str})),
    **dict.fromkeys(("minItems", "maxItems", "items"), frozenset({list})),
    **dict.fromkeys(
        ("required", "properties", "patternProperties", "additionalProperties"), frozenset({dict})
    ),
}
_WORDS = {"$schema", "$id", "$defs", "title", "description"}
_OF_MEMBERS = ("properties", "patternProperties", "additionalProperties")


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
        if key not in _WORDS and key not in _OF_MEMBERS
    ]
    if any(key in rule for key in _OF_MEMBERS):
        tests.append(_members(rule, definitions))
    if len(tests) == 1:
        return tests[0]
    return _all_of(tests)


def _all_of(tests: Sequence[Accepts]) -> Accepts:
    def test(value: Any) -> bool:
        for each in tests:  # noqa: SIM110  # runs for every value of every file
            if not each(value):
                return False
        return True

    return test


def _keyword(key: str, rule: Mapping[str, Any], definitions: Mapping[str, Any]) -> Accepts:
    wanted = rule[key]
    match key:
        case "$ref":
            return _compile(definitions[wanted.removeprefix("#/$defs/")], definitions)
        case "type":
            kinds = _kinds(wanted)
            if float not in kinds:
                return lambda v: type(v) in kinds
            return lambda v: type(v) in kinds and (type(v) is not float or math.isfinite(v))
        case "enum":
            return lambda v: type(v) is str and v in wanted
        case "const":
            return lambda v: type(v) is type(wanted) and v == wanted
        case "minimum":
            return lambda v: type(v) not in (int, float) or v >= wanted
        case "maximum":
            return lambda v: type(v) not in (int, float) or v <= wanted
        case "minLength":
            return lambda v: type(v) is not str or len(v) >= wanted
        case "maxLength":
            return lambda v: type(v) is not str or len(v) <= wanted
        case "minItems":
            return lambda v: type(v) is not list or len(v) >= wanted
        case "maxItems":
            return lambda v: type(v) is not list or len(v) <= wanted
        case "pattern":
            pattern = re.compile(wanted)
            return lambda v: type(v) is not str or pattern.search(v) is not None
        case "required":
            needed = frozenset(wanted)
            return lambda v: type(v) is not dict or needed <= v.keys()
        case "items":
            item = _compile(wanted, definitions)
            return lambda v: type(v) is not list or all(map(item, v))
    return lambda value: False  # not understood: let the authority speak


def _sure(rule: Any) -> frozenset[type]:
    """Return the types of which a rule accepts every value, but for numbers that are not finite."""
    if not isinstance(rule, dict) or "type" not in rule:
        return frozenset()
    others = rule.keys() - _WORDS - {"type"}
    if not others <= _LIMITS.keys():
        return frozenset()
    return _kinds(rule["type"]).difference(*(_LIMITS[key] for key in others))


def _kinds(names: str | Sequence[str]) -> frozenset[type]:
    given = [names] if isinstance(names, str) else names
    return frozenset[type]().union(*(_TYPES[name] for name in given))


def _members(rule: Mapping[str, Any], definitions: Mapping[str, Any]) -> Accepts:
    known = {key: _compile(r, definitions) for key, r in rule.get("properties", {}).items()}
    sure = {key: _sure(r) for key, r in rule.get("properties", {}).items()}
    nothing = frozenset[type]()
    other = _compile(rule.get("additionalProperties", True), definitions)
    named = [
        (re.compile(pattern), _compile(r, definitions))
        for pattern, r in rule.get("patternProperties", {}).items()
    ]

    def plain(value: Any) -> bool:
        if type(value) is not dict:
            return True
        for key, member in value.items():  # runs for every mapping of every file
            kind = type(member)
            if kind in sure.get(key, nothing):
                if kind is float and not math.isfinite(member):
                    return False
            elif not known.get(key, other)(member):
                return False
        return True

    def test(value: Any) -> bool:
        if type(value) is not dict:
            return True
        for key, member in value.items():
            matching = [accepts for pattern, accepts in named if pattern.search(key)]
            own = known.get(key, None if matching else other)
            if not (own is None or own(member)) or not all(each(member) for each in matching):
                return False
        return True

    return test if named else plain
