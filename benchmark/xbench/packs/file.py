"""The file of a pack: a zip archive of `pack.json` and plain numpy arrays, with a checksum of each.

Estimates need few digits: where a reference holds sums and counts, the mean effect sums / counts may be kept in 16
bits, and sums are made of it again.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xbench.errors import UsageError
from xbench.inputs import LFS_POINTER, NO_FILE_OF_LFS, parse_json, read_plain
from xbench.spec import canonical_json, content_hash
from xbench.store import Artefact, Key, write_atomically

SCHEMA = "xbench.pack/1"
INDEX = "pack.json"
PACK_BYTES = 512 * 1024 * 1024
INDEX_BYTES = 64 * 1024 * 1024
ARRAY_BYTES = 256 * 1024 * 1024  # of one array, unpacked
ALL_BYTES = 4 * 1024 * 1024 * 1024  # of all arrays, unpacked
KINDS = ("hypothesis", "reference", "map", "fit", "intervention", "run")
_LEVELS = 2**16 - 1
# The date of every entry, so that equal content makes equal files.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Pack:
    """Artefacts by key, and facts of the whole: which model and runs they are of, how they were packed."""

    facts: Mapping[str, Any]
    artefacts: Sequence[tuple[Key, Artefact]]


def compacted(artefact: Artefact) -> dict[str, np.ndarray]:
    """Return the arrays of a reference with the mean effect of each segment in 16 bits.

    sums [half, token, segment] and counts [half, segment] become estimate [half, token, segment], the mean effect
    sums / counts as the nearest of 65,536 even steps between the lowest and the highest of its row:
    low + step * estimate, with low and step [half, token].
    """
    arrays = dict(artefact.arrays)
    sums, counts = arrays.pop("sums"), arrays["counts"]
    mean = sums / np.maximum(counts, 1)[:, None, :]
    low = mean.min(axis=-1)
    step = (mean.max(axis=-1) - low) / _LEVELS
    even = (mean - low[..., None]) / np.where(step > 0, step, 1.0)[..., None]
    return {**arrays, "estimate": np.round(even).astype(np.uint16), "low": low, "step": step}


def restored(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of a reference as the store holds them: sums = (low + step * estimate) * counts."""
    full = dict(arrays)
    estimate, low, step = full.pop("estimate"), full.pop("low"), full.pop("step")
    full["sums"] = (low[..., None] + step[..., None] * estimate) * full["counts"][:, None, :]
    return full


def can_be_compacted(key: Key, artefact: Artefact) -> bool:
    """Return whether an artefact is a reference made of sums and counts."""
    sums, counts = artefact.arrays.get("sums"), artefact.arrays.get("counts")
    return (
        key.kind == "reference"
        and sums is not None
        and counts is not None
        and sums.ndim == 3
        and counts.shape == (sums.shape[0], sums.shape[2])
        and bool(np.isfinite(sums).all())
    )


def write_pack(pack: Pack, path: Path, *, compact: bool) -> str:
    """Write a pack and return its SHA-256; equal content makes equal files. Raises EnvironmentProblem."""
    buffer = io.BytesIO()
    entries = []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for key, artefact in sorted(pack.artefacts, key=lambda pair: pair[0].digest):
            as_compact = compact and can_be_compacted(key, artefact)
            arrays = compacted(artefact) if as_compact else artefact.arrays
            listed = {}
            for name, array in arrays.items():
                content = _npy(array)
                file = f"{key.digest[:16]}/{name}.npy"
                archive.writestr(zipfile.ZipInfo(file, _DATE), content, zipfile.ZIP_DEFLATED, 9)
                listed[name] = {"file": file, "sha256": hashlib.sha256(content).hexdigest()}
            entries.append(
                {
                    "kind": key.kind,
                    "digest": key.digest,
                    "ingredients": key.ingredients,
                    "facts": artefact.facts,
                    "compact": as_compact,
                    "arrays": listed,
                }
            )
        index = {"schema": SCHEMA, **pack.facts, "artefacts": entries}
        index["check"] = content_hash(json.loads(canonical_json(index)))
        text = canonical_json(index).encode()
        archive.writestr(zipfile.ZipInfo(INDEX, _DATE), text, zipfile.ZIP_DEFLATED, 9)
    content = buffer.getvalue()
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def read_pack(path: Path) -> tuple[Pack, str]:
    """Read a pack and hold it against its checksums; return it with its SHA-256.

    Raises:
        UsageError: it is no pack, damaged, larger than allowed, or something in it is not what its name says.
    """
    content = _content(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            index = _index(archive, path)
            left, artefacts = ALL_BYTES, []
            for entry in index["artefacts"]:
                key = _key(entry, path)
                arrays = {}
                for name, stated in entry["arrays"].items():
                    member = _member(archive, stated["file"], min(ARRAY_BYTES, left), path)
                    left -= len(member)
                    if hashlib.sha256(member).hexdigest() != stated["sha256"]:
                        raise _broken(path, f"{stated['file']} has a wrong checksum")
                    arrays[name] = _array(member)
                full = restored(arrays) if entry["compact"] else arrays
                artefacts.append((key, Artefact(full, entry["facts"])))
    except UsageError:
        raise
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError),
        MemoryError,  # of a header that claims more than there is
    ) as problem:
        raise _broken(path, str(problem)) from None
    except (KeyError, TypeError, AttributeError, IndexError) as problem:
        raise _broken(path, f"a field is missing or of another kind ({problem})") from None
    facts = {k: v for k, v in index.items() if k not in ("artefacts", "schema", "check")}
    return Pack(facts, artefacts), hashlib.sha256(content).hexdigest()


def _content(path: Path) -> bytes:
    content = read_plain(path, PACK_BYTES)
    if content.startswith(LFS_POINTER):
        raise UsageError(f"{path}: this is {NO_FILE_OF_LFS}")
    if content.startswith(b"PK") and not zipfile.is_zipfile(io.BytesIO(content)):
        raise _broken(path, "it is cut off")
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise UsageError(f"{path}: this is no pack (`xbench pack` makes them)")
    return content


def _index(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    if INDEX not in archive.namelist():
        raise UsageError(f"{path}: this is no pack: it holds no {INDEX}")
    index = parse_json(_member(archive, INDEX, INDEX_BYTES, path))
    if not isinstance(index, dict) or index.get("schema") != SCHEMA:
        found = index.get("schema") if isinstance(index, dict) else None
        raise UsageError(f"{path}: its schema is {found!r}, this version reads '{SCHEMA}'")
    check = index.pop("check", None)
    if check != content_hash(index):
        raise _broken(path, f"{INDEX} has a wrong checksum")
    return index


def _key(entry: Mapping[str, Any], path: Path) -> Key:
    if entry["kind"] not in KINDS:
        raise _broken(path, f"'{entry['kind']}' is no kind of artefact that packs hold")
    key = Key(entry["kind"], entry["ingredients"])
    if key.digest != entry["digest"]:
        raise _broken(path, f"{entry['digest'][:12]} is another artefact than its name says")
    ingredients, facts = entry["ingredients"], entry["facts"]
    if not isinstance(facts, dict) or not isinstance(ingredients.get("code", {}), dict):
        raise _broken(path, f"{entry['digest'][:12]} has facts of another kind")
    return key


def _member(archive: zipfile.ZipFile, name: str, largest: int, path: Path) -> bytes:
    """Return one entry, never more than `largest` bytes of it, whatever its header says."""
    with archive.open(name) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise _broken(path, f"{name} is larger than the {largest / 1e6:.3g} MB allowed")
    return content


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _array(content: bytes) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def _broken(path: Path, why: str) -> UsageError:
    return UsageError(f"{path}: the pack is damaged: {why}; get it again")
