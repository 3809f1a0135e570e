"""Processes of this machine that share a run: `--workers N`."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import torch

from xbench.errors import UsageError
from xbench.runner.crew import Died
from xbench.runner.desk import Answer, Desk, Order
from xbench.spec import ExecutionOptions

_TRIES = 2
_SPAWN = multiprocessing.get_context("spawn")


@contextmanager
def processes(order: Order) -> Iterator[Sequence[Process]]:
    """Start the processes of a run, each with its share of the processors or its own GPUs, and end them."""
    options = order.options
    count = options.workers or 1
    gpus = _gpus(options)
    threads = None if gpus else max(1, (os.cpu_count() or 1) // count)
    shares = _shares(gpus, count, options.gpus_per_worker)
    hands = [Process(replace(order, threads=threads, gpus=share)) for share in shares]
    try:
        yield hands
    finally:
        for hand in hands:
            hand.stop()


def _gpus(options: ExecutionOptions) -> list[str]:
    """Return the GPUs that processes may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    if options.device not in ("auto", "cuda"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]


def _shares(gpus: Sequence[str], count: int, each: float | None) -> list[str | None]:
    """Divide GPUs among processes; several may have the same where there are fewer, or where that is asked for."""
    if not gpus:
        return [None] * count
    wanted = 1.0 if each is None else each
    if wanted < 1:
        fit = int(1 / wanted)
        return [gpus[index // fit % len(gpus)] for index in range(count)]
    size = int(wanted)
    if size > len(gpus):
        raise UsageError(f"--gpus-per-worker {each:g}: this machine has {len(gpus)}")
    groups = [",".join(gpus[i : i + size]) for i in range(0, len(gpus) - size + 1, size)]
    return [groups[index % len(groups)] for index in range(count)]


class Process:
    """One process of this machine; it is started again when it dies."""

    def __init__(self, order: Order) -> None:
        self._order, self._stopped = order, False
        self._start()

    def _start(self) -> None:
        self._mine, theirs = _SPAWN.Pipe()
        # A daemon: it never outlives the run.
        self._process = _SPAWN.Process(target=_serve, args=(theirs, self._order), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def ask(self, question: str, *arguments: Any) -> Answer:
        """Ask, and wait for the answer."""
        for _ in range(_TRIES):
            try:
                self._mine.send((question, arguments))
                answer: Answer = self._mine.recv()
            except (EOFError, OSError):
                if self._stopped:
                    break
                self._process.join()
                self._start()
            else:
                return answer
        raise Died

    def stop(self) -> None:
        """End the process at once: what it made is in the store."""
        self._stopped = True
        self._process.terminate()
        self._process.join()


def _serve(questions: Connection, order: Order) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run is interrupted, and ends its processes
    if order.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = order.gpus
    desk = Desk(order)
    while True:
        try:
            question, arguments = questions.recv()
        except EOFError:  # the run is gone
            return
        questions.send(desk.answer(question, *arguments))
