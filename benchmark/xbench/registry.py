"""Find models, methods, metrics, references, datasets and task folders through entry points.

Built-ins come through the same door as plugins. An entry point is loaded when it is asked for;
one that fails to load becomes a row of `xbench list plugins` and an error only where it is used.
Two distributions that register one name collide: `distribution:name` addresses either. The plain name
means the built-in one where there is one, so that no plugin changes what ours does, and is refused otherwise.
"""

from __future__ import annotations

import functools
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import (
    Distribution,
    EntryPoint,
    PackageNotFoundError,
    distribution,
    entry_points,
)
from typing import Generic, TypeVar

from xbench.authorship import Authorship, of_package, papers
from xbench.description import (
    Checkpoint,
    DatasetDescription,
    Description,
    FamilyDescription,
    MethodDescription,
    MetricDescription,
    ReferenceDescription,
    TaskFolder,
)
from xbench.errors import UnknownName, UsageError, in_one_line
from xbench.spec import LOCAL, Call
from xbench.surroundings import undisturbed

D = TypeVar("D", bound=Description)
OURS = "xbench"  # the distribution that registers the built-ins


@dataclass(frozen=True)
class Entry(Generic[D]):
    """One entry point: who registered what, and the description or the reason it failed."""

    name: str
    distribution: str
    distribution_version: str
    target: str
    description: D | None
    error: str | None


class Registry(Generic[D]):
    """All entry points of one group, loaded on first use."""

    def __init__(self, kind: str, description_type: type[D]) -> None:
        self.kind = kind
        self.group = f"xbench.{kind}s"
        self._type = description_type
        self._local: dict[str, Entry[D]] = {}

    def entries(self) -> tuple[Entry[D], ...]:
        """Return every entry of the group, broken ones included, sorted by name."""
        registered = _load(self.group, self._type)  # type: ignore[arg-type]  # a class is hashable
        if not self._local:
            return tuple(registered)  # sorted already
        return tuple(sorted([*registered, *self._local.values()], key=lambda e: e.name))

    def add_local(self, description: D, target: str) -> None:
        """Add what no package registers, for this process; raises UsageError where its name is registered."""
        if any(e.name == description.name for e in self.entries() if e.distribution != LOCAL):
            raise UsageError(
                f"{self.kind} '{description.name}' of {target} bears a registered name; give it another"
            )
        version = description.version
        self._local[description.name] = Entry(
            description.name, LOCAL, version, target, description, None
        )

    def called(self, entry: Entry[D]) -> str:
        """Return the name that means this entry: with its package where the plain name means another, or none."""
        alike = [each for each in self.entries() if each.name == entry.name]
        plain = len(alike) == 1 or entry.distribution == OURS
        return entry.name if plain else f"{entry.distribution}:{entry.name}"

    def names(self) -> tuple[str, ...]:
        """Return the sorted names that load."""
        return tuple(sorted({e.name for e in self.entries() if e.description}))

    def descriptions(self) -> tuple[D, ...]:
        """Return the descriptions that load, sorted by name."""
        return tuple(e.description for e in self.entries() if e.description)

    def entry(self, name: str) -> Entry[D]:
        """Return the one entry called `name` or `distribution:name`; raise when none or several."""
        owner, _, plain = name.rpartition(":")
        found = [e for e in self.entries() if e.name == plain and owner in ("", e.distribution)]
        if not found:
            raise UnknownName(self.kind, name, [e.name for e in self.entries()])
        if len(found) > 1 and (ours := [e for e in found if e.distribution == OURS]):
            found = ours
        if len(found) > 1:
            options = " or ".join(f"'{e.distribution}:{e.name}'" for e in found)
            raise UsageError(
                f"{self.kind} '{name}' is registered by several plugins; write {options}"
            )
        return found[0]

    def get(self, name: str) -> D:
        """Return the description called `name`; raise UsageError when it is unknown or broken."""
        entry = self.entry(name)
        if entry.description is None:
            raise UsageError(
                f"{self.kind} '{name}' of plugin {entry.distribution} {entry.distribution_version} "
                f"does not load: {entry.error}"
            )
        return entry.description

    def resolve(self, call: Call) -> tuple[D, Call]:
        """Return the description a call names and the call with checked, complete parameters.

        A `distribution:` in the name stays only where it is needed to tell two plugins apart.
        """
        description = self.get(call.name)
        resolved = description.resolve(call)
        other = self.entry(call.name).distribution != OURS
        ambiguous = other and sum(e.name == description.name for e in self.entries()) > 1
        return description, Call(call.name, resolved.params) if ambiguous else resolved


@functools.cache
def _load(group: str, description_type: type[D]) -> tuple[Entry[D], ...]:
    points = sorted(entry_points(group=group), key=lambda p: (p.name, _owner(p.dist)))
    return tuple(_load_one(point, description_type) for point in points)


def _load_one(point: EntryPoint, description_type: type[D]) -> Entry[D]:
    description, error = None, None
    owner = _owner(point.dist)
    ours = owner[0] == OURS
    guard: AbstractContextManager[list[str]] = (
        nullcontext([]) if ours else undisturbed(importing=True)
    )
    try:
        with guard as changed:
            loaded = point.load()
        if changed:
            error = f"importing {point.module} changed {changed[0]}, which all of xbench shares; leave it as it was"
        elif not isinstance(loaded, description_type):
            error = f"{point.value} is a {type(loaded).__name__}, not a {description_type.__name__}"
        elif loaded.name != point.name:
            error = f"{point.value} calls itself '{loaded.name}', its entry point '{point.name}'"
        elif found := loaded.problems():
            error = f"{point.value}: {found[0]}"
        else:
            description = loaded
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # noqa: BLE001  # a stranger's plugin may fail in any way; the row says how
        error = in_one_line(problem)
    return Entry(point.name, *owner, point.value, description, error)


def authorship(description: MethodDescription, distribution_name: str) -> Authorship:
    """Return who made a method: as its description says, then its package, then the paper named as its source."""
    own = Authorship(description.authors, description.code, description.paper, description.licence)
    named = papers(description.source)
    of_source = Authorship(paper=named[0][1] if named else None)
    package = Authorship() if distribution_name == LOCAL else of_package(distribution_name)
    return own.over(package).over(of_source)


@functools.cache
def in_development(name: str) -> bool:
    """Say whether a distribution is installed as editable: its code changes while its version stays."""
    try:
        text = distribution(name).read_text("direct_url.json")
    except (PackageNotFoundError, ValueError):  # a name of no package, or none at all
        return False
    return bool(json.loads(text or "{}").get("dir_info", {}).get("editable"))


@functools.cache
def _owner(found: Distribution | None) -> tuple[str, str]:
    """Return name and version; each look at one of them would parse the metadata again."""
    return (found.name, found.version) if found else ("?", "?")


models = Registry("model", FamilyDescription)
methods = Registry("method", MethodDescription)
metrics = Registry("metric", MetricDescription)
references = Registry("reference", ReferenceDescription)
datasets = Registry("dataset", DatasetDescription)
task_folders = Registry("task", TaskFolder)

ALL: tuple[Registry, ...] = (models, methods, metrics, references, datasets, task_folders)


def strayed() -> list[tuple[EntryPoint, str]]:
    """Return the entry points of groups that look like ours and are none, with the package and version of each."""
    ours = {each.group for each in ALL}
    groups = [g for g in entry_points().groups if g.startswith(f"{OURS}.") and g not in ours]
    return [
        (point, " ".join(_owner(point.dist)))
        for group in sorted(groups)
        for point in entry_points(group=group)
    ]


def checkpoints() -> dict[str, tuple[FamilyDescription, Checkpoint]]:
    """Return every registered checkpoint by its name, with its family."""
    return {c.name: (family, c) for family in models.descriptions() for c in family.checkpoints}


def checkpoint(name: str) -> tuple[FamilyDescription, Checkpoint] | None:
    """Return a registered checkpoint and its family; None for a name that no family registers."""
    return checkpoints().get(name)
