"""Work that is shared with further processes of the same program, where the machine has cores for them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TypeVar

from threadpoolctl import threadpool_limits

A = TypeVar("A")
B = TypeVar("B")
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

    A copy sees all that is in memory here, so nothing is sent to it; what it returns is pickled. Where it fails, or
    the system allows no copy, its work is done here, and fails here if it has to: errors are what they are without.
    """
    if hands() == 1:
        return [work() for work in works]
    # Each process would share its products among as many threads again, which wait for each other: ten times longer.
    with threadpool_limits(1, user_api="blas"):
        return _with_copies(works)


def in_shares(
    work: Callable[[Sequence[A]], Sequence[B]], items: Sequence[A], fewest: int
) -> list[B]:
    """Return what a work makes of items, one of each, in their order; up to `fewest` of them are one share."""
    shares = min(hands(), 1 + len(items) // fewest)
    parts = side_by_side([partial(work, items[k::shares]) for k in range(shares)])
    return [parts[k % shares][k // shares] for k in range(len(items))]


def _with_copies(works: Sequence[Callable[[], T]]) -> list[T]:
    begun = [_begun(work) for work in works[1:]]
    try:
        return [works[0](), *map(_ended, works[1:], begun)]
    finally:
        for copy, receiving in filter(None, begun):
            receiving.close()
            copy.kill()


def _begun(work: Callable[[], T]) -> tuple[BaseProcess, Connection] | None:
    """Return a copy that does the work, and where its answer will come; None where the system allows no more."""
    copying = multiprocessing.get_context("fork")
    receiving, sending = copying.Pipe(duplex=False)
    copy = copying.Process(target=_send, args=(work, sending), daemon=True)
    with sending:
        try:
            copy.start()
        except OSError:  # no memory for it, or too many processes
            receiving.close()
            return None
    return copy, receiving


def _ended(work: Callable[[], T], begun: tuple[BaseProcess, Connection] | None) -> T:
    """Return the answer of a copy; where none comes, do its work."""
    if begun is None:
        return work()
    copy, receiving = begun
    try:
        found: T = receiving.recv()
    except EOFError:
        return work()
    copy.join()
    return found


def _send(work: Callable[[], T], sending: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the first process ends its copies
    with suppress(Exception):
        sending.send(work())
