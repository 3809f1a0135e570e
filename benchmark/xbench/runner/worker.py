"""What a process does for a run: it loads the model once and does pieces of work (`runner.desk`)."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from xbench.runner import stages
from xbench.runner.bench import Bench, bench_of
from xbench.runner.desk import Notes, Order, Told, Work
from xbench.runner.estimate import within_reach
from xbench.runner.fit import fit_methods, with_stored_fit
from xbench.runner.keys import Job, Spoken, hypothesis_key
from xbench.runner.lineup import unsupported_by, with_floor
from xbench.runner.local_file import with_local_metric
from xbench.runner.outcome import Known
from xbench.runner.partners import choose_partner
from xbench.runner.plan import Method, Plan, TaskPlan, expand, plan_methods, with_references
from xbench.runner.progress import Reporter
from xbench.runner.run import explain_and_measure, results_of
from xbench.runner.walk import attempt
from xbench.spec import Call


class Worker:
    """A loaded model with the plan of a run. `references`: those that the run settled on (`settle`).

    partners: whether methods that compare with another utterance can explain: every utterance is decoded by then.
    """

    def __init__(
        self, plan: Plan, bench: Bench, output: Path, reporter: Reporter, *, partners: bool = True
    ) -> None:
        self.plan, self.bench, self.output, self.reporter = plan, bench, output, reporter
        self.partners = partners
        self.jobs = cache(self._jobs)
        self.able = cache(self._able)
        self.settled = cache(self._settled)

    @classmethod
    def of(cls, order: Order, reporter: Notes) -> Worker:
        """Load the model that an order names; raises UsageError or EnvironmentProblem."""
        if Path(order.folder).is_dir():
            os.chdir(order.folder)
        sys.argv = list(order.command)
        if order.threads:
            torch.set_num_threads(order.threads)
        spec = order.plan.spec
        for call in spec.metrics:
            with_local_metric(call)
        plan = replace(order.plan, methods=plan_methods(spec))
        return cls(plan, bench_of(plan, order.options), Path(order.options.output), reporter)

    def settle(self) -> tuple[Call, ...]:
        """Return the references of the run, where the preset leaves some out on this machine; else none."""
        plan = within_reach(self.plan, self.bench, self.reporter)
        return () if plan is self.plan else plan.spec.references

    def do(self, work: Work, references: tuple[Call, ...] = ()) -> Told:
        """Do one piece of work; an utterance that fails is told, and whatever else goes wrong is raised."""
        of_task = self._task(work.task, references)
        if work.stage == "fit":
            self._fit(of_task)
            return Told(work, unsupported=self._barred(of_task))
        job = self.jobs(work.task, work.dev, references)[work.id]
        unsupported: dict[Call, str] = {}

        def done() -> None:
            if work.stage == "decode":
                stages.decode(self.bench, job)
                return
            spoken = Spoken(job, stages.read_decoded(self.bench.shelf, job))
            if work.stage == "explain":
                unsupported.update(self._explain(of_task, spoken, references))
            elif not spoken.decoded.unexplained:
                stages.refer(self.bench, spoken, lambda passes: None)

        failure = attempt(work.title, job.utterance, lambda: done())
        return Told(work, failure, {**self._barred(of_task), **unsupported})

    def finish(self, known: Known, references: tuple[Call, ...] = ()) -> list[Path]:
        """Write the results of the run, of which all expensive parts are in the store; return their files."""
        plan = self.settled(references)
        results = results_of(plan, self.bench, self.output, self.reporter, known)
        return [self.output / result.path() for result in results]

    def _settled(self, references: tuple[Call, ...]) -> Plan:
        return with_references(self.plan, references) if references else self.plan

    def _task(self, name: str, references: tuple[Call, ...]) -> TaskPlan:
        return next(p for p in self.settled(references).tasks if p.task.name == name)

    def _jobs(self, name: str, dev: bool, references: tuple[Call, ...]) -> dict[str, Job]:
        of_task = self._task(name, references)
        manifest = of_task.dev if dev else of_task.manifest
        assert manifest is not None
        seed = self.plan.spec.seed
        return {u.id: Job(of_task.task, u, seed) for u in manifest.utterances}

    def _methods(self, of_task: TaskPlan) -> tuple[Method, ...]:
        """Return the methods of the run, and the floor of the task, that the model supports."""
        info = self.bench.info
        methods = with_floor(
            expand(self.plan.methods, info.decoder_layers, info.heads), of_task.task
        )
        beyond = unsupported_by(methods, info)
        return tuple(m for m in methods if m.call not in beyond)

    def _barred(self, of_task: TaskPlan) -> dict[Call, str]:
        """Return the methods that changed what all share, whatever this process did meanwhile."""
        return self.bench.barred(self._methods(of_task)) if self.bench.watch.barred else {}

    def _fit(self, of_task: TaskPlan) -> None:
        """Let methods learn; who cannot is found out again when results are written."""
        fit_methods(self.bench, self._methods(of_task), of_task, self.plan.spec.seed, self.reporter)

    def _able(self, name: str, references: tuple[Call, ...]) -> tuple[Method, ...]:
        """Return the methods that can explain by now: those that learn once what they learned is stored."""
        of_task = self._task(name, references)
        seed = self.plan.spec.seed
        found = [
            with_stored_fit(m, of_task, self.bench.shelf, seed) for m in self._methods(of_task)
        ]
        known = (method for method in found if method is not None)
        return tuple(m for m in known if self.partners or "partner" not in m.description.needs)

    def _explain(
        self, of_task: TaskPlan, spoken: Spoken, references: tuple[Call, ...]
    ) -> dict[Call, str]:
        methods = self.able(of_task.task.name, references)
        if any("partner" in m.description.needs for m in methods):
            everyone = self._everyone(of_task.task.name, references)
            spoken = replace(spoken, partner=choose_partner(spoken, everyone))
        return explain_and_measure(self.bench, spoken, methods, self.reporter)

    def _everyone(self, name: str, references: tuple[Call, ...]) -> list[Spoken]:
        """Return every utterance of a task that is decoded."""
        shelf = self.bench.shelf
        return [
            Spoken(job, stages.read_decoded(shelf, job))
            for job in self.jobs(name, False, references).values()
            if shelf.store.has(hypothesis_key(shelf.info, job))
        ]
