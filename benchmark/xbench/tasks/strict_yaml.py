"""YAML read as plain data with the line of every key, refusing everything that surprises.

No tags (no code), no anchors or aliases (no alias bombs), no duplicate keys, only text keys, one
document, at most 1 MB and 20 levels. Plain scalars follow the YAML 1.2 core schema, so that the
language code `no` stays a text: only true and false are booleans.
"""

from __future__ import annotations

import copy
import errno
import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from xbench.inputs import bounded
from xbench.schemas import InvalidFile, PathPart, Problem

_LARGEST_BYTES = 1_000_000
_DEEPEST = 20
_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = re.compile(r"(true|True|TRUE)|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NON_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    file: Path
    line: int

    def __str__(self) -> str:
        """Return "file:line"."""
        return f"{display(self.file)}:{self.line}"


@dataclass(frozen=True)
class Document:
    """A mapping and where each of its keys and items was written."""

    value: dict[str, Any]
    places: Mapping[tuple[PathPart, ...], Place]

    def locate(self, problem: Problem) -> str:
        """Write a problem as `file:line: path: message`, at the innermost place that is known."""
        for end in range(len(problem.path), -1, -1):
            if place := self.places.get(problem.path[:end]):
                return f"{place}: {problem}"
        return str(problem)


def display(path: Path) -> str:
    """Return a path relative to the working directory where it lies below it."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def read_yaml(path: Path) -> Document:
    """Read one YAML file whose outermost value is a mapping.

    Raises:
        InvalidFile: with every problem as `file:line: reason`.
    """
    found = _parsed(_read_text(path), path)
    return Document(copy.deepcopy(found.value), dict(found.places))


@functools.cache
def _parsed(text: str, path: Path) -> Document:
    """Parse a text once: a fragment is included by many files."""
    if problems := list(_forbidden(text, path)):
        raise InvalidFile(display(path), problems)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise InvalidFile(
            display(path), [f"{Place(path, 1)}: expected a mapping of keys to values"]
        )
    reader = _Reader(path, {(): Place(path, 1)}, [])
    value = reader.read(root, ())
    if reader.problems:
        raise InvalidFile(display(path), reader.problems)
    return Document(value, reader.places)


def merge(base: Document, local: Document) -> Document:
    """Lay `local` over `base`: mappings merge key by key, everything else is replaced."""
    return Document(_merge_values(base.value, local.value), {**base.places, **local.places})


def _merge_values(base: dict[str, Any], local: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in local.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merge_values(below, value)
        else:
            merged[key] = value
    return merged


def _read_text(path: Path) -> str:
    try:
        data = bounded(path, _LARGEST_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise InvalidFile(display(path), [f"larger than {_LARGEST_BYTES} bytes"]) from None
        raise InvalidFile(display(path), [f"cannot be read: {error.strerror or error}"]) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidFile(display(path), [f"{Place(path, line)}: not UTF-8"]) from None


def _forbidden(text: str, path: Path) -> Iterator[str]:
    """Yield syntax errors and forbidden constructs, before anything is built from them."""
    depth = documents = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            place = _place(path, event.start_mark)
            documents += isinstance(event, yaml.DocumentStartEvent)
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.NodeEvent) and event.anchor:
                kind = "alias '*" if isinstance(event, yaml.AliasEvent) else "anchor '&"
                yield f"{place}: {kind}{event.anchor}' is not allowed; write the value out"
            if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag:
                yield f"{place}: tag '{event.tag}' is not allowed"
            if documents > 1:
                yield f"{place}: a second document ('---') is not allowed"
                return
            if depth > _DEEPEST:
                yield f"{place}: nested deeper than {_DEEPEST} levels"
                return
    except yaml.MarkedYAMLError as error:
        place = _place(path, error.problem_mark or error.context_mark)
        yield f"{place}: not YAML: {error.problem or error.context}"
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        yield f"{Place(path, line)}: not YAML: the character {error.character:#x} is not allowed"


@dataclass(frozen=True)
class _Reader:
    """Turns composed nodes into plain data, noting places and problems on the way."""

    path: Path
    places: dict[tuple[PathPart, ...], Place]
    problems: list[str]

    def read(self, node: yaml.Node, at: tuple[PathPart, ...]) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.places[(*at, index)] = self._place(item)
            return [self.read(item, (*at, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, at: tuple[PathPart, ...]) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            key = self.read(key_node, at) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                written = (
                    f"'{key_node.value}'"
                    if isinstance(key_node, yaml.ScalarNode)
                    else "a list or mapping"
                )
                self.problems.append(
                    f"{place}: {written} is not a text and cannot be a key; quote it"
                )
            elif key in value:
                first = self.places[(*at, key)].line
                self.problems.append(f"{place}: key '{key}' is given twice (first on line {first})")
            else:
                self.places[(*at, key)] = place
                value[key] = self.read(value_node, (*at, key))
        return value

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text: str = node.value
        if _SURROGATE.search(text):
            self.problems.append(f"{self._place(node)}: a text holds half of a surrogate pair")
        if node.style:
            return text
        if _NON_FINITE.fullmatch(text):
            self.problems.append(f"{self._place(node)}: '{text}' is not a finite number")
            return None
        return _plain(text)

    def _place(self, node: yaml.Node) -> Place:
        return _place(self.path, node.start_mark)


def _place(path: Path, mark: Any) -> Place:
    return Place(path, mark.line + 1 if mark else 1)


def _plain(text: str) -> Any:
    """Resolve an unquoted scalar under the YAML 1.2 core schema (decimal integers only)."""
    if _NULL.fullmatch(text):
        return None
    if match := _BOOL.fullmatch(text):
        return match[1] is not None
    if _INT.fullmatch(text) and len(text) < 19:
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text
