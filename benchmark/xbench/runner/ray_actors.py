"""Actors of a Ray cluster that share a run: `--executor ray`.

One actor per GPU, or per share of the processors. It loads the model once, does the work it is asked for and writes the
store itself, which has to lie in a folder that all nodes see; through Ray go names of utterances and how it went. Ray
starts an actor that died again, and asks it again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from xbench.errors import EnvironmentProblem, UsageError
from xbench.runner.crew import Died
from xbench.runner.desk import Answer, Desk, Order
from xbench.spec import ExecutionOptions

_TRIES = 2


@contextmanager
def actors(order: Order) -> Iterator[Sequence[Actor]]:
    """Start the actors of a run on a cluster, and end them; raises EnvironmentProblem without Ray or resources."""
    ray = _ray()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, order.options.address)
    hands: list[Actor] = []
    try:
        needs = needs_of(
            order.options, [node["Resources"] for node in ray.nodes() if node["Alive"]]
        )
        kind = ray.remote(Desk).options(
            num_cpus=needs.cpus, num_gpus=needs.gpus, max_restarts=-1, max_task_retries=_TRIES - 1
        )
        threads = None if needs.gpus else needs.cpus
        hands += [
            Actor(ray, kind.remote(replace(order, threads=threads))) for _ in range(needs.workers)
        ]
        yield hands
    finally:
        for hand in hands:
            hand.stop()
        if ours:
            ray.shutdown()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    # Ray starts its workers 15 steps of `nice` lower, so that on a machine with other work they hardly come to run.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # The behaviour of coming releases; without it each start warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise EnvironmentProblem(
            "--executor ray needs the package ray: pip install 'xbench[ray]'"
        ) from None
    return ray


def _connect(ray: Any, address: str | None) -> None:
    try:
        ray.init(
            address=address,
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, ValueError, RuntimeError) as problem:
        raise EnvironmentProblem(
            f"no Ray cluster at {address or 'this machine'} ({str(problem).splitlines()[0]}); start one, or leave "
            "--address out to use this machine alone"
        ) from None


@dataclass(frozen=True)
class Needs:
    """How many actors a run starts, and what each of them needs."""

    workers: int
    cpus: int
    gpus: float


def needs_of(options: ExecutionOptions, nodes: Sequence[dict[str, float]]) -> Needs:
    """Divide what the nodes of a cluster have: one actor per GPU, without any one per node; raises UsageError."""
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    wants = options.device in ("auto", "cuda") and sum(gpus) > 0
    each = options.gpus_per_worker
    each = (1.0 if wants else 0.0) if each is None else each
    places = sum(int(count / each) for count in gpus) if each else sum(cpus)
    workers = options.workers or (places if each else sum(1 for count in cpus if count))
    if workers > places:
        what = f"{each:g} GPUs" if each else "one processor"
        raise UsageError(
            f"--workers {workers} of {what} each: the cluster of {len(nodes)} nodes has room for {places}"
        )
    if each:
        return Needs(workers, 1, each)
    share = max(1, sum(cpus) // workers)
    while sum(count // share for count in cpus) < workers:
        share -= 1
    return Needs(workers, share, 0.0)


class Actor:
    """One actor of the cluster."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor

    def ask(self, question: str, *arguments: Any) -> Answer:
        """Ask, and wait for the answer."""
        try:
            answer: Answer = self._ray.get(self._actor.answer.remote(question, *arguments))
        except self._ray.exceptions.RayError:
            raise Died from None
        return answer

    def stop(self) -> None:
        """End the actor at once: what it made is in the store."""
        self._ray.kill(self._actor)
