"""Content-addressed artefacts on disk: hypotheses, references and maps, each written once.

The key is a hash of everything that determines the artefact. Arrays lie in `KEY.npz`; `KEY.json` beside it
holds the ingredients of the key, the checksum of the arrays, small facts, and a checksum of all of these. Both are
written to a temporary file and renamed, the JSON last, so an artefact exists completely or not at all.

What is read is held against its checksums and against the key it was asked for by. Whatever does not agree, or cannot
be read at all, is set aside as `.damaged-KEY...` with a warning and made again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
import struct
import tempfile
import time
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from platformdirs import user_cache_path

from xbench.errors import EnvironmentProblem
from xbench.leases import lease
from xbench.spec import canonical_json, content_hash

KINDS = ("hypothesis", "reference", "block", "map", "fit", "run", "intervention", "gate", "model")

# Artefacts, what a killed process left of one, what was set aside, and who works on what.
_OWN_FILE = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62}\.(npz|json)|\.(tmp|damaged|lease)-.*)")
_RECORD = re.compile(r"[0-9a-f]{64}\.json")
_OLD_RECORD = {"ingredients", "sha256", "facts"}  # before the checksum of all of these
_STALE_SECONDS = 24 * 3600
_ATTEMPTS = 5  # of writing a file while another process deletes


@dataclass(frozen=True)
class Artefact:
    """Arrays and the facts stored beside them (costs, texts)."""

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Key:
    """What an artefact is (`kind`) and everything that determines it."""

    kind: str
    ingredients: Mapping[str, Any]

    @cached_property
    def text(self) -> str:
        """All of it as text, equal for equal keys."""
        return canonical_json({"kind": self.kind, **self.ingredients})

    @cached_property
    def digest(self) -> str:
        """Hash that names the files."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def default_folder() -> Path:
    """Return $XBENCH_CACHE, or the user's cache folder."""
    configured = os.environ.get("XBENCH_CACHE")
    return Path(configured) if configured else user_cache_path("xbench")


class Store:
    """A folder of artefacts; any number of processes may read and write it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _stem(self, key: Key) -> str:
        """Return the path of both files without their endings."""
        digest = key.digest
        return f"{self.folder}/{key.kind}/{digest[:2]}/{digest}"

    def _paths(self, key: Key) -> tuple[Path, Path]:
        stem = self._stem(key)
        return Path(f"{stem}.npz"), Path(f"{stem}.json")

    def has(self, key: Key) -> bool:
        """Return whether the artefact is there, without reading its arrays."""
        with _readable(self.folder):
            return self._paths(key)[1].is_file()

    def get(self, key: Key) -> Artefact | None:
        """Return the artefact, or None when it is missing; a damaged one is set aside with a warning.

        Raises EnvironmentProblem when the store may not be read.
        """
        stem = self._stem(key)
        with _readable(self.folder):
            try:
                return _read(stem, key)
            except _Damaged:
                arrays_path, facts_path = self._paths(key)
                if not facts_path.exists():
                    return None
                # Another process may have replaced one of the two files in between.
                try:
                    return _read(stem, key)
                except _Damaged as problem:
                    warnings.warn(f"cache: {problem}; it is made again", stacklevel=2)
        for path in (facts_path, arrays_path):
            with contextlib.suppress(OSError):  # gone already, or a store that may only be read
                path.replace(path.with_name(f".damaged-{path.name}"))
        return None

    def put(
        self,
        key: Key,
        arrays: Mapping[str, np.ndarray],
        facts: Mapping[str, Any],
        *,
        durable: bool = True,
    ) -> None:
        """Write the artefact; raises EnvironmentProblem when the disk is full or not writable.

        durable: it also outlives a power cut. To wait for the disk takes longer than some passes; what is not durable
        outlives the process, and after a power cut is whole, missing, or told as damaged and made again.
        """
        arrays_path, facts_path = self._paths(key)
        buffer = io.BytesIO()
        # mypy cannot see that the names never collide with savez's own keywords
        np.savez(buffer, **{f"a_{name}": value for name, value in arrays.items()})  # type: ignore[arg-type]
        payload = buffer.getvalue()
        record = {
            "ingredients": {"kind": key.kind, **key.ingredients},
            "sha256": hashlib.sha256(payload).hexdigest(),
            "facts": facts,
        }
        write_atomically(arrays_path, payload, durable=durable)
        # Of what will be read back: JSON turns the keys of mappings into texts.
        check = content_hash(json.loads(canonical_json(record)))
        whole = canonical_json({**record, "check": check}).encode()
        write_atomically(facts_path, whole, durable=durable)

    def drop(self, key: Key) -> None:
        """Delete an artefact, where it is there and the store may be written."""
        for path in reversed(self._paths(key)):
            with contextlib.suppress(OSError):
                path.unlink()

    def lease(self, key: Key) -> AbstractContextManager[bool]:
        """Hold a lease on making an artefact within the context; False where another process that lives holds it."""
        path = self._paths(key)[1]
        return lease(path.with_name(f".lease-{path.stem}"))

    def sweep(self) -> int:
        """Remove what processes that were killed left behind; return how many files there were.

        Temporary files and leases go once they are a day old, blocks once the reference they belong to is there.
        """
        before, gone = time.time() - _STALE_SECONDS, []
        for kind in KINDS:
            left = (self.folder / kind).glob
            for path in (*left("??/.tmp-*"), *left("??/.lease-*")):
                with contextlib.suppress(OSError):
                    if path.stat().st_mtime < before:
                        gone.append(path)
        for record in self._files("block"):
            if record.suffix == ".json" and self._superseded(record):
                gone += [record, record.with_suffix(".npz")]
        removed = 0
        for path in gone:
            with contextlib.suppress(OSError):  # gone already, or a store that may only be read
                path.unlink()
                removed += 1
        return removed

    def _superseded(self, block: Path) -> bool:
        """Say whether the reference that a block belongs to is whole."""
        try:
            digest = str(json.loads(block.read_bytes())["ingredients"]["reference"])
        except (OSError, ValueError, KeyError, TypeError):
            return False  # damaged: whoever asks for it sets it aside
        return (self.folder / "reference" / digest[:2] / f"{digest}.json").is_file()

    def _files(self, kind: str) -> list[Path]:
        """Return the files of one kind that xbench has written; others may lie beside them."""
        found = (self.folder / kind).glob("??/*")
        return sorted(p for p in found if _OWN_FILE.fullmatch(f"{p.parent.name}/{p.name}"))

    def _records(self) -> Iterator[Path]:
        for kind in KINDS:
            yield from (path for path in self._files(kind) if _RECORD.fullmatch(path.name))

    def summary(self) -> dict[str, dict[str, int]]:
        """Return number and bytes of the artefacts of each kind."""
        table = {}
        for kind in KINDS:
            files = self._files(kind)
            size = sum(map(_size, files))
            records = sum(bool(_RECORD.fullmatch(p.name)) for p in files)
            table[kind] = {"artefacts": records, "bytes": size}
        return table

    def verify(self) -> list[str]:
        """Read every artefact; return one line for each damaged one."""
        problems: list[str] = []
        for facts_path in self._records():
            stem = str(facts_path.with_suffix(""))
            try:
                _read(stem)
            except _Damaged:
                # Another process may have replaced one of the two files in between, or deleted both.
                with contextlib.suppress(FileNotFoundError):
                    facts_path.lstat()
                    problems += _damage(stem)
        return problems

    def clear(self) -> int:
        """Delete all artefacts (nothing else in the folder); return how many there were."""
        count = sum(1 for _ in self._records())
        for kind in KINDS:
            for path in self._files(kind):
                if path.is_dir() and not path.is_symlink():  # a damage of a strange kind
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            for folder in (*(self.folder / kind).glob("??"), self.folder / kind):
                with contextlib.suppress(OSError):  # something else lies in it
                    folder.rmdir()
        return count

    def clear_method(self, name: str) -> int:
        """Delete what a method has made: its maps, what it learned, and gates that judged these; return how many."""
        gone: set[str] = set()
        for kind in ("map", "fit", "gate"):
            for facts_path in (path for path in self._files(kind) if path.suffix == ".json"):
                try:
                    ingredients = json.loads(facts_path.read_text("utf-8"))["ingredients"]
                except (OSError, ValueError, KeyError, TypeError):
                    continue  # damaged: `verify` tells of it
                if ingredients.get("name") == name or not gone.isdisjoint(
                    ingredients.get("maps", ())
                ):
                    gone.add(facts_path.stem)
                    facts_path.unlink(missing_ok=True)
                    facts_path.with_suffix(".npz").unlink(missing_ok=True)
        return len(gone)


class _Damaged(Exception):
    """An artefact whose files do not agree."""


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:  # another process has just deleted it
        return 0


def _damage(stem: str) -> Iterator[str]:
    try:
        _read(stem)
    except _Damaged as problem:
        yield str(problem)


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Say in a sentence when the store may not be read."""
    try:
        yield
    except PermissionError as problem:
        raise EnvironmentProblem(
            f"cannot read {problem.filename or folder}: {problem.strerror}; choose another folder with --cache"
        ) from None


def _read(stem: str, key: Key | None = None) -> Artefact:
    """Read one artefact and hold it against its checksums and the key that names its files.

    stem: the path of both files without their endings. key: that key, where it is known; otherwise its hash alone is.
    """
    try:
        return _sound(stem, key)
    except (PermissionError, MemoryError):
        raise
    # Damage takes every form; whatever it is, the artefact is made again.
    except Exception as problem:
        if isinstance(problem, OSError) and problem.errno == errno.ENOMEM:
            raise  # no fault of the file
        path = Path(stem)
        name = f"{path.parent.parent.name}/{path.name[:12]}"
        known = isinstance(problem, _Damaged)
        what = str(problem) if known else f"is unreadable ({type(problem).__name__})"
        raise _Damaged(f"{name} {what}") from None


def _content(path: str) -> bytes:
    # Scoring reads tens of thousands of small files: Path.read_bytes takes twice as long.
    with io.FileIO(path) as file:
        return file.readall()


def _sound(stem: str, key: Key | None) -> Artefact:
    stored = _content(f"{stem}.json")
    record = json.loads(stored)
    payload = _content(f"{stem}.npz")
    ingredients, sha256, facts = (record[name] for name in ("ingredients", "sha256", "facts"))
    if record.keys() != _OLD_RECORD:
        check = record.pop("check")
        if record.keys() != _OLD_RECORD or not _as_written(stored, check, record):
            raise _Damaged("has a wrong checksum of its facts")
    is_asked_for = key is not None and f'"ingredients":{key.text}'.encode() in stored
    if not is_asked_for and content_hash(ingredients) != Path(stem).name:
        raise _Damaged("is another artefact than its name says")
    if hashlib.sha256(payload).hexdigest() != sha256:
        raise _Damaged("has a wrong checksum")
    if not isinstance(facts, dict):
        raise _Damaged("has facts of another kind")
    return Artefact(_arrays(payload), facts)


def _as_written(stored: bytes, check: str, record: Mapping[str, Any]) -> bool:
    """Say whether a record agrees with its checksum, that of its text without the checksum (which stands first)."""
    head = f'{{"check":"{check}",'.encode()
    if stored.startswith(head) and hashlib.sha256(b"{" + stored[len(head) :]).hexdigest() == check:
        return True
    return check == content_hash(record)  # written in another form


def _arrays(payload: bytes) -> dict[str, np.ndarray]:
    """Read the arrays of an `.npz` file; those of a run have few shapes, so their headers are understood once."""
    arrays: dict[str, np.ndarray] = {}
    if payload == _NO_ARRAYS:
        return arrays
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        for entry in archive.infolist():
            content = _entry(payload, entry)
            start = (
                len(_MAGIC) + 2 + int.from_bytes(content[len(_MAGIC) : len(_MAGIC) + 2], "little")
            )
            shape, fortran, dtype = _header(content[:start])
            order: Literal["F", "C"] = "F" if fortran else "C"
            values = np.frombuffer(content, dtype, math.prod(shape), start)
            name = entry.filename.removesuffix(".npy").removeprefix("a_")
            arrays[name] = values.reshape(shape, order=order).copy(order)
    return arrays


def _entry(payload: bytes, entry: zipfile.ZipInfo) -> bytes:
    """Return an entry as it lies in the archive, which takes a third of the time of `ZipFile.read`.

    What that checks besides is checked already: the checksum of the whole archive.
    """
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError("a compressed array")
    name, extra = _LENGTHS.unpack_from(payload, entry.header_offset + 26)
    start = entry.header_offset + 30 + name + extra
    return payload[start : start + entry.file_size]


_LENGTHS = struct.Struct("<HH")  # of the name and of what follows it, in the header of an entry
_MAGIC = np.lib.format.magic(1, 0)
_NO_ARRAYS = b"PK\x05\x06" + bytes(18)  # an archive of nothing


@lru_cache(maxsize=1024)
def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Understand the header of an array in numpy's format 1.0; raises ValueError for another, and for objects."""
    if not content.startswith(_MAGIC):
        raise ValueError("not an array in numpy's format 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(content[len(_MAGIC) :]))
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    return shape, fortran, dtype


def write_atomically(path: Path, payload: bytes, *, durable: bool = True) -> None:
    """Write a file completely or not at all; raises EnvironmentProblem with what to do.

    durable: wait until the disk has it.
    """
    try:
        for _ in range(_ATTEMPTS - 1):
            # Another process may clear the store at this moment: the folder is gone, or the unfinished file.
            with contextlib.suppress(FileNotFoundError):
                _replace(path, payload, durable)
                return
        _replace(path, payload, durable)
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EnvironmentProblem(
                f"the disk that holds {path.parent} is full; free some space and run the same command again: "
                "what was finished is kept"
            ) from None
        raise EnvironmentProblem(
            f"cannot write {path}: {problem.strerror or problem}; choose another folder"
        ) from None


def _replace(path: Path, payload: bytes, durable: bool) -> None:
    """Write a file beside its place, then move it there; raises OSError."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tmp-", delete=False) as file:
            temporary = Path(file.name)
            file.write(payload)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        # NamedTemporaryFile makes private files; results are to be read by others.
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
