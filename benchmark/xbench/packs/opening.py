"""A pack put into a store, under the keys that this machine gives the same artefacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbench.packs.file import read_pack
from xbench.runner.keys import key_here
from xbench.store import Artefact, Key, Store


@dataclass(frozen=True)
class Opened:
    """What came of a pack.

    facts: of the pack. added: artefacts put into the store, by kind. present: how many were there already. other: made
    with other versions of packages than this machine's (`torch 2.10.0, here 2.13.0`), each once.
    """

    facts: Mapping[str, Any]
    sha256: str
    added: Mapping[str, int]
    present: int
    other: tuple[str, ...]


def open_pack(path: Path, store: Store, device: str) -> Opened:
    """Put what a pack holds into a store; what is there already stays as it is.

    device: `cpu` or `cuda`, on which runs will look for the artefacts: the precisions that it computes fast are part
    of a reference's key. A reference from a pack says so in every result (`computation.pack`).

    Raises:
        UsageError: the file is no pack, or damaged; nothing was put into the store then.
        EnvironmentProblem: the store cannot be written.
    """
    pack, sha256 = read_pack(path)
    added: dict[str, int] = {}
    present, other = 0, set()
    for key, artefact in pack.artefacts:
        here = key_here(key, device)
        other |= _differences(key, here)
        if store.get(here) is not None:
            present += 1
            continue
        store.put(here, artefact.arrays, _marked(key, artefact, sha256).facts)
        added[key.kind] = added.get(key.kind, 0) + 1
    return Opened(pack.facts, sha256, added, present, tuple(sorted(other)))


def _marked(key: Key, artefact: Artefact, sha256: str) -> Artefact:
    """Note in a reference which pack it came from."""
    if key.kind != "reference" or not isinstance(artefact.facts.get("reference"), dict):
        return artefact
    facts = artefact.facts["reference"]
    known = facts.get("computation")
    computation = {**(known if isinstance(known, dict) else {}), "pack": sha256[:12]}
    marked = {**facts, "computation": computation}
    return Artefact(artefact.arrays, {**artefact.facts, "reference": marked})


def _differences(there: Key, here: Key) -> set[str]:
    """Name the packages whose version differs."""
    found = set()
    for name, version in here.ingredients.get("code", {}).items():
        before = there.ingredients["code"].get(name)
        if before != version:
            found.add(f"{name} {before}, here {version}")
    before = there.ingredients.get("skimage")
    if before != here.ingredients.get("skimage"):
        found.add(f"scikit-image {before}, here {here.ingredients.get('skimage')}")
    return found
