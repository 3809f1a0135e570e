"""Run some utterances of a result again, from nothing, or compute its scores again, and compare."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xbench import registry
from xbench.errors import UsageError
from xbench.results import RunResult, column_name
from xbench.runner.evaluate import carry_out
from xbench.runner.plan import Plan, prepare
from xbench.runner.progress import Reporter
from xbench.runner.rescore import rescore
from xbench.spec import Call, ExecutionOptions, RunSpec, Selection
from xbench.store import Store


@dataclass(frozen=True)
class Checked:
    """One column of one utterance: what the file says, what came out now, and whether they agree."""

    id: str
    column: str
    stored: Any
    again: Any
    agrees: bool


def verify(
    result: RunResult,
    *,
    sample: int | None = None,
    model: str | None = None,
    data: str | None = None,
    device: str = "auto",
    tolerance: float = 0.01,
    reporter: Reporter | None = None,
) -> list[Checked]:
    """Evaluate `sample` utterances again in a store of its own; return every compared value.

    Utterances are drawn by the result's seed; None takes all. Hypotheses must be equal, scores may
    differ by `tolerance` (other hardware rounds differently). Raises UsageError where the result
    says too little to be run again.
    """
    plan = plan_of(result, sample=sample, model=model, data=data)
    with tempfile.TemporaryDirectory(prefix="xbench-verify-") as folder:
        options = ExecutionOptions(str(Path(folder) / "out"), str(Path(folder) / "cache"), device)
        (again,) = carry_out(plan, options, reporter)
    ids = plan.spec.selection.ids or tuple(result.utterances["id"])
    return _compared(result, again, ids, tolerance)


def recomputed(result: RunResult, store: Store, tolerance: float) -> list[Checked]:
    """Compute the scores of a result again from the maps and references in a store; return every compared value.

    Raises UsageError where the store does not hold what the result was made from.
    """
    (again,) = rescore([result], store)
    return _compared(result, again, result.utterances["id"], tolerance)


def _compared(
    result: RunResult, again: RunResult, ids: Sequence[str], tolerance: float
) -> list[Checked]:
    found = {id_: row for row, id_ in enumerate(again.utterances["id"])}
    own = {id_: row for row, id_ in enumerate(result.utterances["id"])}
    checked = []
    for id_ in ids:
        for column in (
            "hypothesis",
            *(column_name(s.metric, s.reference) for s in result.scores),
        ):
            stored = result.utterances[column][own[id_]]
            new = again.utterances[column][found[id_]] if id_ in found else None
            agrees = id_ in found and _agree(stored, new, tolerance)
            checked.append(Checked(id_, column, stored, new, agrees))
    return checked


def _agree(stored: Any, again: Any, tolerance: float) -> bool:
    if isinstance(stored, int | float) and isinstance(again, int | float):
        return abs(stored - again) <= tolerance
    return bool(stored == again)


def plan_of(
    result: RunResult,
    *,
    sample: int | None = None,
    model: str | None = None,
    data: str | None = None,
    chance: np.random.Generator | None = None,
) -> Plan:
    """Return the run that makes these utterances again; raises UsageError where it cannot be known.

    chance: draws the sample; None: the result's seed does.
    """
    plan = prepare(_spec_of(result, sample, model, data, chance))
    here = plan.tasks[0].task
    if not here.is_of(result.task.hash):
        raise UsageError(
            f"task {result.task.name} here is not the one of the result (its hash is "
            f"{here.hash[:12]}, not {result.task.hash[:12]}); use the version of xbench that made it, "
            f"{result.provenance.xbench}"
        )
    return plan


def _spec_of(
    result: RunResult,
    sample: int | None,
    model: str | None,
    data: str | None,
    chance: np.random.Generator | None,
) -> RunSpec:
    if result.status not in ("complete", "partial"):
        raise UsageError(f"a result that is {result.status} has nothing to verify")
    if result.own:
        raise UsageError(f"{result.own} is in no package: it cannot be run again from the result")
    unknown = result.model.source == "local" and registry.checkpoint(result.model.name) is None
    if model is None and unknown:
        raise UsageError(
            f"{result.model.name} was a local folder; say where it is with --model whisper:FOLDER"
        )
    call = Call.make(result.method.name, result.method.params)
    description = registry.methods.get(call.name)
    fitted = result.method.fitted
    if "partner" in description.needs or (fitted and fitted.split == "oracle"):
        sample = None  # its maps depend on all utterances
    return RunSpec(
        model=model or result.model.name,
        methods=(call,),
        tasks=(result.task.name,),
        data=data,
        preset=result.task.preset,
        references=tuple(Call.make(r.name, r.params) for r in result.references),
        metrics=tuple(dict.fromkeys(Call.make(s.metric, s.metric_params) for s in result.scores)),
        selection=_selection(result, sample, chance),
        seed=result.provenance.seed,
        precision=result.model.precision,  # type: ignore[arg-type]  # the schema allows no other
    )


def _selection(
    result: RunResult, sample: int | None, chance: np.random.Generator | None
) -> Selection:
    ids: Sequence[str] = result.utterances["id"]
    if sample is None or sample >= len(ids):
        given = result.task.selection
        return Selection(tuple(given["ids"]), given["limit"])
    generator = chance or np.random.default_rng(result.provenance.seed)
    drawn = sorted(generator.choice(len(ids), size=sample, replace=False))
    return Selection(tuple(ids[index] for index in drawn))
