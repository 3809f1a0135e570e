"""Work that is shared with further processes of the same program, where the machine has cores for them."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")


def hands() -> int:
    """Return how many processes may share work.

    One where a copy of this process would not be safe: on systems other than Linux, and where other threads run, whose
    locks the copy would hold for ever.
    """
    if sys.platform != "linux" or threading.active_count() > 1:
        return 1
    return len(os.sched_getaffinity(0))


def side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """Return what each work returns: the first is done here, each other in a copy of this process.

    A copy sees all that is in memory here, so nothing is sent to it; what it returns is pickled. Where it fails, its
    work is done here, and fails here if it has to: errors are what they are without copies.
    """
    if hands() == 1:
        return [work() for work in works]
    # Each process would share its products among as many threads again, which wait for each other: ten times longer.
    with threadpool_limits(1, user_api="blas"):
        return _with_copies(works)


def _with_copies(works: Sequence[Callable[[], T]]) -> list[T]:
    copying = multiprocessing.get_context("fork")
    begun = []
    for work in works[1:]:
        receiving, sending = copying.Pipe(duplex=False)
        copy = copying.Process(target=_send, args=(work, sending), daemon=True)
        copy.start()
        sending.close()
        begun.append((work, receiving, copy))
    try:
        found = [work() for work in works[:1]]
        for work, receiving, copy in begun:
            try:
                found.append(receiving.recv())
            except EOFError:  # it ended without an answer
                found.append(work())
            copy.join()
        return found
    finally:
        for _, receiving, copy in begun:
            receiving.close()
            copy.kill()


def _send(work: Callable[[], T], sending: Connection) -> None:
    with suppress(Exception):
        sending.send(work())
