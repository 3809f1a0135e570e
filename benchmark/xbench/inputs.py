"""Files and texts that others wrote, taken without trust: plain files of a bounded size, JSON without surprises.

A named pipe would keep the reader waiting for ever and a device never ends, so only plain files are read, and
never more of them than the reader allows. JSON is refused where parsers disagree about it: a key that stands twice,
NaN and infinity, numbers that no float64 or 64-bit integer holds, half of a surrogate pair.
"""

from __future__ import annotations

import errno
import functools
import json
import math
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from xbench.errors import UsageError

RESULT_BYTES = 32 * 1024 * 1024
MANIFEST_BYTES = 64 * 1024 * 1024
LARGEST_INTEGER = 2**63 - 1
LFS_POINTER = b"version https://git-lfs.github.com/spec/"  # how a file begins that Git LFS left in place of another
NO_FILE_OF_LFS = "a pointer of Git LFS and not the file itself; run `git lfs pull` in its folder"
_HALF_PAIR = re.compile("[\ud800-\udfff]")


def open_plain(path: Path) -> BufferedReader:
    """Open a plain file for reading; raises OSError, whose `strerror` says what else lies there."""
    try:
        # Without O_NONBLOCK, opening a pipe that nobody writes to never returns.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError as problem:  # a null byte, or half of a surrogate pair
        raise OSError(errno.EINVAL, f"this is no file name ({problem})") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        raise OSError(errno.EINVAL, f"it is {_named(mode)}, not a plain file")
    return os.fdopen(descriptor, "rb")


def bounded(path: Path, largest: int) -> bytes:
    """Return the bytes of a plain file of at most `largest` bytes; raises OSError."""
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(largest + 1) if size <= largest else b""
    if (size := max(size, len(content))) > largest:
        allowed = f"{size / 1e6:.3g} MB are more than the {largest / 1e6:.3g} MB allowed"
        raise OSError(errno.EFBIG, allowed)
    return content


def read_plain(path: Path, largest: int) -> bytes:
    """Return the bytes of a plain file of at most `largest` bytes; raises UsageError with the path."""
    try:
        return bounded(path, largest)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file or folder") from None
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror or problem}") from None


def _named(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def read_json(path: Path, largest: int) -> Any:
    """Read one JSON file; raises UsageError with the path, and the reason in words."""
    try:
        return parse_json(read_plain(path, largest))
    except ValueError as problem:
        raise UsageError(f"{path}: not valid JSON: {problem}") from None


def parse_json(content: bytes) -> Any:
    """Parse JSON (UTF-8, a byte order mark is skipped); ValueError says in words what is wrong with it."""
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as problem:
        raise ValueError(f"not UTF-8 (byte {problem.start + 1})") from None
    # Called for each number, checks take longer than all else: where none can be too large they are left out.
    large = _may_be_large(content)
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_int=json_integer if large else None,
            parse_float=json_number if large else None,
            object_pairs_hook=_unique_keys,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # Only an escape can bring in half of a pair: UTF-8 itself has none.
    if r"\ud" in text.lower() and any(map(_HALF_PAIR.search, _texts(value))):
        raise ValueError("it holds half of a surrogate pair, which is no text")
    return value


@functools.lru_cache(maxsize=1 << 12)
def visible(text: str, keep: str = "") -> str:
    """Return the text with every character that hides, reorders or commands as an escape such as \\u001b.

    These are control characters (a terminal obeys them), format characters (bidi overrides, zero width), surrogates,
    private and unassigned ones, line and paragraph separators; what is in `keep` stays.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or not _hides(c) else f"\\u{ord(c):04x}" for c in text)


def markdown_cell(text: str) -> str:
    """Return a text as the cell of a Markdown table: it ends no cell and no line, and is neither link nor HTML."""
    return re.sub(r"([\\|<]|(?<=\])\()", r"\\\1", visible(text))


def _hides(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def files_below(path: Path, *suffixes: str) -> list[Path]:
    """Return the path itself, or the files with these suffixes below a folder, sorted.

    Links to folders are not followed. Raises UsageError for a folder that cannot be listed.
    """
    if not os.path.isdir(path):  # noqa: PTH112  # Path.is_dir raises for some names
        return [path]
    found: list[Path] = []

    def unreadable(problem: OSError) -> None:
        raise UsageError(f"{problem.filename}: cannot be listed: {problem.strerror}")

    for folder, _, names in os.walk(path, onerror=unreadable):
        found += [Path(folder, name) for name in names if Path(name).suffix in suffixes]
    return sorted(found)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not allowed; a missing value is null with a reason")


def json_integer(text: str) -> int:
    """Read a whole number of JSON; ValueError for one that 64 bits do not hold."""
    if len(text) > 20 or abs(value := int(text)) > LARGEST_INTEGER:
        raise ValueError(f"the number {_short(text)} is beyond 64 bits")
    return value


def json_number(text: str) -> float:
    """Read a number of JSON with a fraction or an exponent; ValueError for one that is not finite."""
    if math.isinf(value := float(text)):
        raise ValueError(f"the number {_short(text)} is not finite")
    return value


_BEFORE_A_NUMBER = (b"[", b":", b",", b" ", b"\t", b"\r", b"\n")
_SHAPES = bytes.maketrans(b"123456789E", b"000000000e")  # all digits alike, all exponents alike


def _may_be_large(content: bytes) -> bool:
    """Say whether a text may hold a number that 64 bits do not: one of 19 digits or more, or an exponent of three.

    Digits after the point do not count; of digits in a text it may say so without need.
    """
    shapes = content.translate(_SHAPES, b"+")
    if b"0" * 19 in shapes.replace(b"." + b"0" * 19, b""):
        return True
    before = (b" " + shapes).split(b"0e000")[
        :-1
    ]  # hashes have such digits, too, but no number begins them
    return any(part.rstrip(b"0.-").endswith(_BEFORE_A_NUMBER) for part in before)


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:12]}... ({len(text)} characters)"


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for key, uses in Counter(key for key, _ in pairs).items() if uses > 1)
        raise ValueError(f"the key '{twice}' stands twice in one mapping")
    return made


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _texts(item)
        case dict():
            for key, item in value.items():
                yield key
                yield from _texts(item)
