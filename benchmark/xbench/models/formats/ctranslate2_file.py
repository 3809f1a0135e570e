"""Reads `model.bin` of CTranslate2, the format of faster-whisper; every length is held against the file.

Little-endian. A text is its length with the final zero (uint16), then its bytes. The file is

    version (uint32), name of the model's kind (text), revision of that kind (uint32), number of variables (uint32),
    per variable  name (text), rank (uint8), dimensions (uint32 each), type (uint8), bytes (uint32), values,
    number of aliases (uint32), per alias  its name (text), the name of the variable that it stands for (text)

Source: `ctranslate2/specs/model_spec.py` of OpenNMT/CTranslate2, `ModelSpec._serialize`, binary version 6.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xbench.errors import UsageError
from xbench.inputs import open_plain

MODEL_BIN = "model.bin"
_VERSION = 6
_KIND, _KIND_REVISION = "WhisperSpec", 3
# bfloat16 has no type in numpy: its bits are read as whole numbers, and `bfloat16` says so.
_TYPES = ("<f4", "<i1", "<i2", "<i4", "<f2", "<u2")
_BFLOAT16 = _TYPES.index("<u2")
_LARGEST_RANK = 4


@dataclass(frozen=True)
class Variable:
    """An array of the file. bfloat16: `values` are the bits of numbers in that format."""

    values: np.ndarray
    bfloat16: bool = False


class _Reader:
    """What is left of a file; `refused` is the error that every reader of it raises."""

    def __init__(self, name: str, file: Path, content: bytes | mmap.mmap) -> None:
        self._name, self._file, self._content, self._place = name, file, content, 0

    def refused(self, why: str) -> UsageError:
        return UsageError(
            f"model '{self._name}': {self._file} {why}; copy it again, or convert the model again with "
            "ct2-transformers-converter"
        )

    def skip(self, size: int) -> int:
        """Step over bytes; return where they start."""
        start = self._place
        if size > len(self._content) - start:
            raise self.refused(f"ends at byte {len(self._content)}, in the middle of a variable")
        self._place += size
        return start

    def number(self, code: str) -> int:
        start = self.skip(struct.calcsize(code))
        (value,) = struct.unpack_from("<" + code, self._content, start)
        return int(value)

    def text(self) -> str:
        size = self.number("H")
        start = self.skip(size)
        found = bytes(self._content[start : start + size])
        if not found.endswith(b"\0"):
            raise self.refused(f"is no model of CTranslate2: no text ends at byte {start + size}")
        try:
            return found[:-1].decode("utf-8")
        except UnicodeDecodeError:
            raise self.refused(f"is no model of CTranslate2: no text at byte {start}") from None

    def variable(self) -> Variable:
        rank = self.number("B")
        if rank > _LARGEST_RANK:
            raise self.refused(f"has a variable of {rank} dimensions")
        shape = tuple(self.number("I") for _ in range(rank))
        kind, size = self.number("B"), self.number("I")
        if kind >= len(_TYPES):
            raise self.refused(f"has a variable of type {kind}, which xbench does not know")
        dtype = np.dtype(_TYPES[kind])
        count = 1
        for dimension in shape:
            count *= dimension
        if count * dtype.itemsize != size:
            raise self.refused(f"states {size} bytes for {count} values of {dtype.itemsize}")
        start = self.skip(size)
        values = np.frombuffer(self._content, dtype, count, start) if count else np.empty(0, dtype)
        return Variable(values.reshape(shape), kind == _BFLOAT16)

    def end(self) -> None:
        if left := len(self._content) - self._place:
            raise self.refused(f"goes on for {left} bytes after its end")


def read_header(name: str, file: Path) -> None:
    """Refuse what is no Whisper in the present format; raises UsageError that says what it is."""
    try:
        with open_plain(file) as opened:
            start = opened.read(2**16)
    except OSError as problem:
        raise UsageError(f"model '{name}': {file} cannot be read: {problem.strerror}") from None
    _read_header(_Reader(name, file, start))


def _read_header(reader: _Reader) -> None:
    version = reader.number("I")
    if version > 1000:  # a pickle or an archive that bears the same name
        raise reader.refused("is no model of CTranslate2")
    kind = reader.text()
    revision = reader.number("I")
    if kind != _KIND:
        raise reader.refused(f"holds a model of type {kind!r}, xbench reads {_KIND!r}")
    if (version, revision) != (_VERSION, _KIND_REVISION):
        raise reader.refused(
            f"has format version {version} and revision {revision} of {_KIND}, xbench reads version {_VERSION} "
            f"and revision {_KIND_REVISION}"
        )


def read_variables(name: str, file: Path) -> Mapping[str, Variable]:
    """Return all variables by name, those that stand for others too; raises UsageError with the place."""
    with open_plain(file) as opened:
        try:
            content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file cannot be mapped
            raise UsageError(f"model '{name}': {file} is empty") from None
    reader = _Reader(name, file, content)
    _read_header(reader)
    found: dict[str, Variable] = {}
    for _ in range(reader.number("I")):
        key = reader.text()
        if key in found:
            raise reader.refused(f"has two variables of the name {key!r}")
        found[key] = reader.variable()
    for _ in range(reader.number("I")):
        key, meant = reader.text(), reader.text()
        if meant not in found or key in found:
            raise reader.refused(f"has a name {key!r} for {meant!r}, which it does not hold")
        found[key] = found[meant]
        if f"{meant}_scale" in found:  # the scale of whole numbers goes with them, unsaid
            found[f"{key}_scale"] = found[f"{meant}_scale"]
    reader.end()
    return found
