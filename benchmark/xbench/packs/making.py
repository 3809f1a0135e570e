"""A pack of results: everything that scoring them reads from the store, found by scoring them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xbench.errors import UsageError
from xbench.packs.file import Pack, can_be_compacted, compacted, restored, write_pack
from xbench.results import PackRecord, RunResult
from xbench.runner.rescore import rescore
from xbench.store import Artefact, Key, Store

REFERENCES = ("hypothesis", "reference")
EVERYTHING = (*REFERENCES, "map", "fit", "intervention", "run")
# 16 bits are taken where no value, floor or ceiling of any score moves by more than this.
LARGEST_MOVE = 1e-4


def make_pack(
    results: Sequence[RunResult], store: Store, path: Path, *, maps: bool = False
) -> dict[str, Any]:
    """Write the pack of results; return its facts with `sha256`, `bytes` and the number of artefacts by kind.

    maps: also what scoring again without the model needs: maps, what methods learned, interventions, the record of the
    run. 16 bits are tried first and kept where no score of the results moves by more than `LARGEST_MOVE`.

    Raises:
        UsageError: no result, results of several models, or the store does not hold what they were made from.
    """
    if not results:
        raise UsageError("there is no result to pack")
    models = {(r.model.name, r.model.revision) for r in results}
    if len(models) > 1:
        names = ", ".join(sorted(f"{name} ({revision[:12]})" for name, revision in models))
        raise UsageError(f"a pack is of one model; these results are of {names}")
    watched = _Watched(store)
    as_stored = rescore(results, watched)
    kinds = EVERYTHING if maps else REFERENCES
    artefacts = [pair for pair in watched.read.values() if pair[0].kind in kinds]
    if not any(key.kind == "reference" for key, _ in artefacts):
        raise UsageError("these results have no reference to pack")
    moved = largest_move(as_stored, rescore(results, _Compacted(store, artefacts)))
    compact = moved <= LARGEST_MOVE
    facts = {
        "xbench": version("xbench"),
        "model": asdict(results[0].model),
        "runs": _runs(results),
        "compact": compact,
        # What 16 bits move the scores of these results by at most.
        "moved": moved,
    }
    artefacts = [(key, _without_paths(key, each, results[0])) for key, each in artefacts]
    sha256 = write_pack(Pack(facts, artefacts), path, compact=compact)
    counts = {kind: sum(key.kind == kind for key, _ in artefacts) for kind in kinds}
    return {**facts, "sha256": sha256, "bytes": path.stat().st_size, "artefacts": counts}


def largest_move(before: Sequence[RunResult], after: Sequence[RunResult]) -> float:
    """Return by how much any value, floor or ceiling of a score differs at most; infinity where one is gone."""
    largest = 0.0
    for old, new in zip(before, after, strict=True):
        for a, b in zip(old.scores, new.scores, strict=True):
            for x, y in (
                (a.value, b.value),
                (a.floor.value, b.floor.value),
                (a.ceiling.value, b.ceiling.value),
            ):
                if (x is None) != (y is None):
                    return math.inf
                if x is not None and y is not None:
                    largest = max(largest, abs(x - y))
    return largest


def named(result: RunResult, path: Path, sha256: str) -> RunResult:
    """Return a result that names the pack of its references."""
    return replace(result, pack=PackRecord(path.name, sha256))


class _Watched(Store):
    """A store that keeps what was read from it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.folder)
        self.read: dict[str, tuple[Key, Artefact]] = {}

    def get(self, key: Key) -> Artefact | None:
        artefact = super().get(key)
        if artefact is not None:
            self.read[key.digest] = (key, artefact)
        return artefact


class _Compacted(Store):
    """A store whose references are as 16 bits leave them."""

    def __init__(self, store: Store, artefacts: Sequence[tuple[Key, Artefact]]) -> None:
        super().__init__(store.folder)
        self._compacted = {
            key.digest: Artefact(restored(compacted(artefact)), artefact.facts)
            for key, artefact in artefacts
            if can_be_compacted(key, artefact)
        }

    def get(self, key: Key) -> Artefact | None:
        return self._compacted.get(key.digest) or super().get(key)


def _runs(results: Sequence[RunResult]) -> list[dict[str, Any]]:
    """Name the runs: task, clips, references, seed."""
    runs: list[dict[str, Any]] = []
    for result in results:
        run = {
            "task": result.task.name,
            "version": result.task.version,
            "dataset": asdict(result.task.dataset),
            "references": [
                {"name": r.name, "version": r.version, "params": r.params}
                for r in result.references
            ],
            "seed": result.provenance.seed,
        }
        if run not in runs:
            runs.append(run)
    return runs


def _without_paths(key: Key, artefact: Artefact, result: RunResult) -> Artefact:
    """Leave out of a run's record where model and clips lay on the machine that made it."""
    if key.kind != "run":
        return artefact
    spec = {**artefact.facts["spec"], "model": result.model.name}
    if spec["data"]:
        spec["data"] = Path(spec["data"]).name
    return Artefact(artefact.arrays, {**artefact.facts, "spec": spec})
