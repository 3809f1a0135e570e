"""What audits read of a run: maps of references and methods on the encoder grid, from the store alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xbench.errors import UsageError
from xbench.maps import GridMap, on_encoder_grid
from xbench.results import RunResult
from xbench.runner.compare import on_grid, read_reference, unsupported_reference
from xbench.runner.keys import Spoken, map_key, reference_key
from xbench.runner.plan import Method
from xbench.runner.rescore import Change, Stored, grouped, stored_run
from xbench.spec import Call
from xbench.store import Store


@dataclass(frozen=True)
class Estimated:
    """One reference of one utterance on the encoder grid: the map of all masks, and of either half where it has two."""

    call: Call
    mean: GridMap
    halves: tuple[GridMap, GridMap] | None


def scored(results: Sequence[RunResult]) -> list[RunResult]:
    """Return the results that have scores; raises UsageError where there is none."""
    usable = [result for result in results if result.status in ("complete", "partial")]
    if not usable:
        raise UsageError("none of the results has scores; give results of `xbench eval`")
    return usable


def one_run(results: Sequence[RunResult], store: Store, change: Change | None = None) -> Stored:
    """Return what the store holds of results that were made together; raises UsageError where they were not."""
    usable = scored(results)
    runs = len(grouped(usable))
    if runs > 1:
        raise UsageError(
            f"the results come from {runs} runs; give results of one model on one task and the same utterances"
        )
    return stored_run(usable, store, change or Change())


def explained(stored: Stored) -> list[Spoken]:
    """Return the utterances that have a content token and all references; raises UsageError where there is none."""
    spoken = [each for each in stored.spoken.values() if not each.decoded.unexplained]
    if not spoken:
        raise UsageError(
            f"the store {stored.shelf.store.folder.name} holds no reference of this run; evaluate again"
        )
    return spoken


def references_of(stored: Stored, spoken: Spoken) -> Iterator[Estimated]:
    """Yield every reference of an utterance that its model supports."""
    info, layout, task = stored.record.info, spoken.decoded.layout, spoken.job.task
    for call in task.references:
        if unsupported_reference(info, call.name):
            continue
        reference = read_reference(call, stored.shelf.artefact(reference_key(info, spoken, call)))
        yield Estimated(
            call,
            on_encoder_grid(reference.mean(), layout, task.scoring),
            on_grid(reference.halves(), layout, task.scoring),
        )


def map_of(stored: Stored, spoken: Spoken, method: Method) -> GridMap:
    """Return the map of a method."""
    values = stored.shelf.artefact(map_key(stored.record.info, spoken, method)).arrays["values"]
    return method.on_grid(values, spoken.decoded.layout, spoken.job.task.scoring)
