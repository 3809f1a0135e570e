"""Leases: who works on what, for processes that share a folder, so that no two do the same work at once.

A lease is a small file that exactly one process can create; it names the host and the process. A lease is a hint and no
lock: what is made under it is written whole and comes out equal whoever makes it, so two processes that work on the
same thing lose time and nothing else. A lease whose process is gone counts as free, and so does one that is very old.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

# Of another host nobody can say whether its process lives; of a file without content, whether it will get one.
_OLD_SECONDS = 3600.0
_EMPTY_SECONDS = 60.0


@contextlib.contextmanager
def lease(path: Path) -> Iterator[bool]:
    """Hold the lease of this path within the context; False where a process that lives holds it."""
    held = _take(path) or (_abandoned(path) and _take_over(path))
    try:
        yield held
    finally:
        if held:
            with contextlib.suppress(OSError):
                if path.read_text("utf-8", errors="replace") == _name():  # nobody took it over
                    path.unlink()


def _take(path: Path) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(_name())
    except FileExistsError:
        return False
    except OSError:
        return True  # a folder that takes no file; whoever writes the work there says so
    return True


def _name() -> str:
    return f"{socket.gethostname()} {os.getpid()}"


def _take_over(path: Path) -> bool:
    with contextlib.suppress(OSError):
        path.unlink()
    return _take(path)


def _abandoned(path: Path) -> bool:
    """Say whether nobody who lives holds a lease."""
    try:
        age = time.time() - path.stat().st_mtime
        holder = path.read_text("utf-8", errors="replace").split(" ")
    except OSError:
        return True  # given back in between
    if len(holder) != 2 or not holder[1].isdecimal():
        return age > _EMPTY_SECONDS
    host, process = holder
    return age > _OLD_SECONDS or (host == socket.gethostname() and not _lives(int(process)))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
