"""A run of which the store holds everything: its results again, without the model, in the time that scoring takes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from xbench.errors import XbenchError
from xbench.models.loading import Location
from xbench.results import RunResult
from xbench.runner import compare, intervene, stages
from xbench.runner.assemble import assemble
from xbench.runner.bench import Shelf
from xbench.runner.fit import with_stored_fit
from xbench.runner.keys import Job, Spoken
from xbench.runner.known_model import is_still, recall
from xbench.runner.lineup import unsupported_by, with_floor
from xbench.runner.outcome import Outcome, TaskOutcome, peak_memory_bytes
from xbench.runner.partners import with_partners
from xbench.runner.plan import Method, Plan, TaskPlan, expand
from xbench.runner.progress import Reporter
from xbench.runner.record import key_of_plan
from xbench.spec import ExecutionOptions
from xbench.store import Store, default_folder

# No metric gives this reason: it marks what has to be measured first.
_MISSING = "not-measured"


def finished(plan: Plan, options: ExecutionOptions, reporter: Reporter) -> list[RunResult] | None:
    """Write and return the results of a run that was finished before; None where the model has to be loaded.

    That is so where anything is missing or damaged, an utterance failed or a method turned out unsupported (both are
    tried again), and with gates.
    """
    location, spec = plan.model, plan.spec
    if not isinstance(location, Location) or options.fresh or spec.gates:
        return None
    store = Store(Path(options.cache) if options.cache else default_folder())
    info = recall(store, location, options.device, spec.precision)
    if info is None or (info.remote_code and not spec.trust_remote_code):
        return None
    recorded = (store.has(key_of_plan(of_task, info, spec)) for of_task in plan.tasks)
    if not all(recorded) or not is_still(location, info):
        return None
    shelf, methods = Shelf(info, store), expand(plan.methods, info.decoder_layers, info.heads)
    outcomes = []
    for of_task in plan.tasks:
        outcome = _outcome(of_task, methods, shelf, spec.seed, reporter)
        if outcome is None:
            return None
        outcomes.append(outcome)
    results = [assemble(o, method, info, spec) for o in outcomes for method in methods]
    for result in results:
        result.write(Path(options.output))
    return results


def _outcome(
    plan: TaskPlan, methods: Sequence[Method], shelf: Shelf, seed: int, reporter: Reporter
) -> TaskOutcome | None:
    task, started = plan.task, datetime.now(UTC)
    wanted = with_floor(methods, task)
    unsupported = unsupported_by(wanted, shelf.info)
    found = [with_stored_fit(m, plan, shelf, seed) for m in wanted if m.call not in unsupported]
    able = [method for method in found if method is not None]
    floor = next((m for m in able if m.call == Method.registered(task.floor).call), None)
    if floor is None or len(able) < len(found):
        return None
    jobs = [Job(task, utterance, seed) for utterance in plan.manifest.utterances]
    outcomes = []
    try:
        spoken = {j.utterance.id: Spoken(j, stages.read_decoded(shelf, j)) for j in jobs}
        if any("partner" in m.description.needs for m in able):
            spoken = with_partners(spoken)
        with reporter.stage(f"{task.name}: score", len(jobs)) as progress:
            for each in spoken.values():
                scored = compare.score(shelf, each, able)
                scored = intervene.with_interventions(scored, shelf, each, able, absent=_MISSING)
                if _is_missing(scored):
                    return None
                outcomes.append(Outcome(each.job.utterance, each.decoded, scored))
                progress(1)
    except (
        XbenchError
    ):  # an artefact is gone, or an utterance fails: the run finds out again, and says so
        return None
    return TaskOutcome(
        plan=plan,
        outcomes=outcomes,
        failures=[],
        unsupported=unsupported,
        fitted={m.call: m.fitted for m in able if m.fitted},
        floor=floor,
        started=started,
        peak_memory_bytes=peak_memory_bytes(shelf.info.device),
    )


def _is_missing(scored: compare.Scored) -> bool:
    return any(s.reason == _MISSING for row in scored.scores.values() for s in row.values())
