"""One file read over its includes, with the line of every key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from xbench import registry
from xbench.errors import UsageError, nearest
from xbench.schemas import InvalidFile, Problem
from xbench.tasks.folders import registered
from xbench.tasks.strict_yaml import Document, display, merge, read_yaml

SUITE = "xbench.suite/1"


def read_merged(path: Path, root: Path, chain: tuple[Path, ...]) -> Document:
    """Read a file over its includes; of several includes a later one wins over an earlier one."""
    document = read_yaml(path)
    included = document.value.pop("include", [])
    names = [included] if isinstance(included, str) else included
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _include_error(document, path, "expected a file name or a list of file names")
    here = (*chain, path.resolve())
    merged = Document({}, {})
    for name in names:
        try:
            target, home = _included(name, path, root)
        except UsageError as problem:
            raise _include_error(document, path, str(problem)) from None
        if reason := _include_problem(name, target, home, here):
            raise _include_error(document, path, reason)
        merged = merge(merged, read_merged(target, home, here))
    # A fragment that includes nothing may take away what another one sets.
    if names and (found := list(_idle_removals(merged, document))):
        raise InvalidFile(display(path), located(document, found))
    return merge(_without_removed(merged, document), document)


def _idle_removals(base: Document, document: Document) -> Iterator[Problem]:
    """Yield the nulls of a file that take no reference away: their names are mistyped."""
    set_above = {name for _, given in _references(base) for name in given}
    for place, given in _references(document):
        for name in (name for name, value in given.items() if value is None):
            if name not in set_above:
                hint = nearest(str(name), map(str, set_above))
                reason = f"no included file sets such a reference, which null would take away{hint}"
                yield Problem((*place, name), reason)


def _references(document: Document) -> Iterator[tuple[tuple[str, ...], dict[Any, Any]]]:
    """Yield the references that a file sets or takes away, itself and by its presets, each with its place."""
    presets = document.value.get("presets")
    parts: list[tuple[tuple[str, ...], Any]] = [((), document.value)]
    if isinstance(presets, dict):
        parts += [(("presets", name), preset) for name, preset in presets.items()]
    for place, part in parts:
        if isinstance(part, dict) and isinstance(given := part.get("references"), dict):
            yield (*place, "references"), given


def _without_removed(base: Document, document: Document) -> Document:
    """Drop from presets of included files the references that a file removes by a null of its own.

    A headline of such a preset that names one of them gives way to the headline of the file; where it has none, that is
    told with the place of the null.
    """
    references, presets = document.value.get("references"), base.value.get("presets")
    if not isinstance(references, dict) or not isinstance(presets, dict):
        return base
    removed = {name for name, given in references.items() if given is None}
    kept, places = dict(presets), dict(base.places)
    for name, preset in presets.items():
        if not removed or not isinstance(preset, dict):
            continue
        given, headline = preset.get("references"), preset.get("headline")
        if isinstance(given, dict):
            left = {key: value for key, value in given.items() if key not in removed}
            kept[name] = {**preset, "references": left}
        if not isinstance(headline, dict) or headline.get("reference") not in removed:
            continue
        if "headline" in document.value:
            kept[name] = {key: value for key, value in kept[name].items() if key != "headline"}
            at = ("presets", name, "headline")
            places = {path: place for path, place in places.items() if path[:3] != at}
        else:
            place = document.places[("references", str(headline["reference"]))]
            places[("presets", name, "headline", "reference")] = place
    return Document({**base.value, "presets": kept}, places)


def _included(name: str, path: Path, root: Path) -> tuple[Path, Path]:
    """Return the file an include names and the folder it stays in: its own, or that of `FOLDER:FILE`."""
    folder, colon, file = name.rpartition(":")
    if not colon:
        return path.parent / name, root
    home = registered(registry.task_folders.entry(folder)).root
    return home / file, home


def _include_problem(name: str, target: Path, root: Path, chain: tuple[Path, ...]) -> str | None:
    try:
        resolved = target.resolve()
        there = target.is_file()
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as problem:  # too long, a null byte, links in a circle
        return f"'{name}' is no file name: {getattr(problem, 'strerror', None) or problem}"
    if not resolved.is_relative_to(root.resolve()):
        return f"'{name}' lies outside the task folder {display(root)}"
    if resolved in chain:
        cycle = " -> ".join(p.name for p in (*chain[chain.index(resolved) :], resolved))
        return f"files include each other: {cycle}"
    if not there:
        hint = nearest(target.name, [f.name for f in target.parent.glob("*.yaml")])
        return f"there is no file '{name}'{hint}"
    return None


def _include_error(document: Document, path: Path, reason: str) -> InvalidFile:
    return InvalidFile(display(path), located(document, [Problem(("include",), reason)]))


def with_preset(document: Document, preset: str) -> Document:
    """Return the document with one of its presets laid over it."""
    at = ("presets", preset)
    places = {path[2:]: place for path, place in document.places.items() if path[:2] == at}
    return merge(document, Document(document.value["presets"][preset], places))


def is_suite(document: Document) -> bool:
    """Return whether a document is a suite."""
    return document.value.get("schema") == SUITE


def located(document: Document, problems: Iterable[Problem]) -> list[str]:
    """Return problems as text, each with its line."""
    return [document.locate(problem) for problem in problems]
