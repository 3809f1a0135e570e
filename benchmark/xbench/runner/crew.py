"""A run by several processes: which piece of work goes to whom, until the results can be written.

Work goes stage by stage, since what a model wrote is needed for its references, and these for methods that learn from
them. Within a stage every process that is free takes the next utterance. When no reference is left to begin, free
processes help with those that are not finished: they take blocks of masks of the same utterance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol, runtime_checkable

from xbench.errors import EnvironmentProblem
from xbench.results import Failure, RunResult, read_result
from xbench.runner.desk import Answer, Told, Work
from xbench.runner.outcome import Known
from xbench.runner.plan import Plan, TaskPlan
from xbench.runner.progress import Reporter
from xbench.spec import Call


class Died(Exception):
    """A process died over a question, again and again."""


@runtime_checkable
class Hand(Protocol):
    """One process that works for a run, as the run sees it."""

    def ask(self, question: str, *arguments: Any) -> Answer:
        """Return the answer of `desk.Desk`; raises Died when the process died over it more than once."""

    def stop(self) -> None:
        """End the process; whoever waits for an answer gets Died."""


class Crew:
    """All processes of a run."""

    def __init__(self, hands: Sequence[Hand], reporter: Reporter) -> None:
        self.hands, self.reporter = hands, reporter
        self.references: tuple[Call, ...] = ()

    def run(self, plan: Plan) -> list[RunResult]:
        """Do all work of a run and have the results written; return them."""
        self._settle()
        known = Known()
        for of_task in plan.tasks:
            learns = any(method.description.fit for method in plan.methods)
            told = self._stages(of_task, learns)
            name = of_task.task.name
            failures = {w.id: t.failure for w, t in told.items() if t.failure and not w.dev}
            unsupported = {w.id: t.unsupported for w, t in told.items() if t.unsupported}
            known = Known(
                {**known.failures, name: failures}, {**known.unsupported, name: unsupported}
            )
        with self.reporter.stage("results", 1) as progress:
            files = self._surely(self.hands[0], "finish", known, self.references)
            progress(1)
        return [read_result(file) for file in files]

    def _settle(self) -> None:
        """Let all processes load the model, and one say what the run leaves out on such a machine."""
        questions = ["settle", *("start" for _ in self.hands[1:])]
        with (
            self.reporter.stage("load", len(self.hands)) as progress,
            ThreadPoolExecutor(len(self.hands)) as threads,
        ):
            try:
                asked = [
                    threads.submit(self._surely, hand, question)
                    for hand, question in zip(self.hands, questions, strict=True)
                ]
                for future in asked:
                    future.result()
                    progress(1)
            except BaseException:
                self._stop()
                raise
        self.references = asked[0].result()

    def _stages(self, of_task: TaskPlan, learns: bool) -> dict[Work, Told]:
        """Take the utterances of a task, and those to select on, through all stages."""
        name = of_task.task.name
        ids = [(u.id, False) for u in of_task.manifest.utterances]
        if learns and of_task.dev:
            ids += [(u.id, True) for u in of_task.dev.utterances]
        told: dict[Work, Told] = {}
        for stage in ("decode", "reference", "fit", "explain"):
            failed = {(work.id, work.dev) for work, each in told.items() if each.failure}
            remaining = [each for each in ids if each not in failed]
            if stage == "fit":
                works = [Work("fit", name, "")] if learns else []
            elif stage == "explain":
                works = [Work(stage, name, id_) for id_, dev in remaining if not dev]
            else:
                works = [Work(stage, name, id_, dev) for id_, dev in remaining]
            told |= self._stage(works, share=stage == "reference")
        return told

    def _stage(self, works: Sequence[Work], *, share: bool) -> dict[Work, Told]:
        if not works:
            return {}
        with (
            self.reporter.stage(works[0].title, len(works)) as progress,
            ThreadPoolExecutor(len(self.hands)) as threads,
        ):
            try:
                return self._worked(works, threads, progress, share=share)
            except BaseException:
                self._stop()
                raise

    def _worked(
        self,
        works: Iterable[Work],
        threads: ThreadPoolExecutor,
        progress: Callable[[int], None],
        *,
        share: bool,
    ) -> dict[Work, Told]:
        coming, idle = deque(works), list(self.hands)
        running: dict[Future[Told], tuple[Hand, Work]] = {}
        told: dict[Work, Told] = {}
        while coming or any(work not in told for _, work in running.values()):
            while idle and (work := self._next(coming, running, told, share=share)):
                hand = idle.pop()
                running[threads.submit(self._do, hand, work)] = (hand, work)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                hand, work = running.pop(future)
                idle.append(hand)
                if work not in told:
                    progress(1)
                # Where one process failed and another did not (it had more memory), the work is done.
                if work not in told or told[work].failure:
                    told[work] = future.result()
        for future, (_, work) in running.items():  # helpers, who find that all is done
            if not future.result().failure:
                told[work] = future.result()
        return told

    def _next(
        self,
        coming: deque[Work],
        running: dict[Future[Told], tuple[Hand, Work]],
        told: dict[Work, Told],
        *,
        share: bool,
    ) -> Work | None:
        """Return the next piece of work: a new one, or the one at which the fewest are at work."""
        if coming:
            return coming.popleft()
        at_work = [work for _, work in running.values() if work not in told]
        return min(at_work, key=at_work.count) if share and at_work else None

    def _do(self, hand: Hand, work: Work) -> Told:
        try:
            told: Told = self._ask(hand, "do", work, self.references)
        except Died:
            if work.stage == "fit":
                return Told(work)  # the results say why, when they are written
            reason = "the process that worked on it died more than once; memory may have run out"
            return Told(work, Failure(work.id, "worker-died", reason))
        return told

    def _ask(self, hand: Hand, question: str, *arguments: Any) -> Any:
        answer = hand.ask(question, *arguments)
        for note in answer.notes:
            self.reporter.note(note)
        return answer.get()

    def _surely(self, hand: Hand, question: str, *arguments: Any) -> Any:
        """Ask what the run cannot do without."""
        try:
            return self._ask(hand, question, *arguments)
        except Died:
            raise EnvironmentProblem(
                f"a process of this run died over '{question}' more than once; memory may have run out: use fewer "
                "--workers; what was finished is stored"
            ) from None

    def _stop(self) -> None:
        for hand in self.hands:
            hand.stop()
