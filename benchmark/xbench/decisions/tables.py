"""What judges of faithfulness, and what uses of maps, say of every method and clip of a run, side by side.

Judges are the metrics of the results: agreement with the reference, and intervention. Uses, per clip and turned so that
higher is better:

    word-times   minus the mean distance of word onsets from the known ones (`decisions.words`)
    regret       minus the regret of `alignatt` at its own lag (`decisions.streaming`)
    delay        minus the area of its delay over regret
    detection    AUROC with which the entropy of a token's row finds the tokens of the clip that the audio matters
                 least to (`decisions.listening`: the quarter of the least effect)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xbench import registry
from xbench.audit.stored_maps import explained, one_run
from xbench.decisions.listening import LOWEST, clip_signs
from xbench.decisions.policies import Policy
from xbench.decisions.streaming import advised_clips
from xbench.decisions.words import timed_clips
from xbench.errors import UsageError
from xbench.results import RunResult
from xbench.runner.rescore import Stored
from xbench.stats.detection import detection
from xbench.store import Store

USES = ("word-times", "regret", "delay", "detection")
# They measure a use themselves, so they do not judge faithfulness.
_MEASURES_OF_USE = {"onset-error", "frontier-error"}
_SECOND_ESTIMATES = {"spes", "spes-encoder"}
_HEAD = "raw-attention"
# [method][clip], None where there is no value.
Table = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class RunTables:
    """What judges and uses say of every method and clip of one run.

    data: the name of the clips. kind: of the task, `asr` or `st`. kinds: `method`, `head` (a single head), or `other`
    (controls, second estimates of the reference). heads: the (layer, head) of each single head. judges, uses: by name,
    higher is better.
    """

    model: str
    task: str
    data: str
    kind: str
    seed: int
    clusters: tuple[str, ...]
    kinds: Mapping[str, str]
    heads: Mapping[str, tuple[int, int]]
    judges: Mapping[str, Table]
    uses: Mapping[str, Table]


def run_tables(
    results: Sequence[RunResult], store: Store, wanted: Sequence[str] = USES
) -> tuple[RunTables, list[str]]:
    """Read what judges and these uses say of the methods of one run; also why a use is missing. Loads no model."""
    stored = one_run(results, store)
    used = [spoken.job.utterance for spoken in explained(stored)]
    ids = [utterance.id for utterance in used]
    labels = {index: str(method.call) for index, method in stored.methods.items()}
    by_label = {labels[index]: results[index] for index in labels}
    task = stored.record.task
    data = results[0].task.dataset.name
    where = f"{stored.record.info.name}, {task.name}, {data}"
    uses: dict[str, Table] = {}
    absent = []
    for names, read in _READ.items():
        own = [name for name in names if name in wanted]
        try:
            found = read(stored, ids) if own else {}
            uses |= {name: found[name] for name in own}
        except UsageError as problem:
            absent += [f"{where}: {name}: {problem}" for name in own]
    return RunTables(
        model=stored.record.info.name,
        task=task.name,
        data=data,
        kind=task.kind,
        seed=stored.record.spec.seed,
        clusters=tuple(utterance.cluster for utterance in used),
        kinds={label: _kind(result) for label, result in by_label.items()},
        heads={
            label: (int(result.method.params["layer"]), int(result.method.params["head"]))
            for label, result in by_label.items()
            if _kind(result) == "head"
        },
        judges=_judges(by_label, ids),
        uses=uses,
    ), absent


def _kind(result: RunResult) -> str:
    if result.method.name == _HEAD:
        return "head"
    second = result.method.name in _SECOND_ESTIMATES or "head" in result.method.params
    return "other" if second or result.method.kind == "control" else "method"


def _judges(results: Mapping[str, RunResult], ids: Sequence[str]) -> dict[str, Table]:
    """Return the columns of the metrics that all results have, per clip, higher as better."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for label, result in results.items():
        own = result.utterances["id"]
        for score in result.scores:
            if score.metric in _MEASURES_OF_USE:
                continue
            name = score.metric if score.reference is None else f"{score.metric}@{score.reference}"
            sign = 1 if registry.metrics.get(score.metric).higher_is_better else -1
            column = dict(zip(own, result.utterances[name], strict=True))
            values = [column.get(clip) for clip in ids]
            found.setdefault(name, {})[label] = [None if v is None else sign * v for v in values]
    return {name: table for name, table in found.items() if len(table) == len(results)}


def _of_words(stored: Stored, ids: Sequence[str]) -> dict[str, Table]:
    clips = timed_clips(stored, tolerance=0.05, point="run")
    return {
        "word-times": {
            label: _placed(
                ids,
                clips.ids,
                [-float(np.abs(c.onset).mean()) if len(c.onset) else None for c in of_method],
            )
            for label, of_method in clips.of_method.items()
        }
    }


def _of_streaming(stored: Stored, ids: Sequence[str]) -> dict[str, Table]:
    clips = advised_clips(stored, Policy())
    regrets, delays = {}, {}
    for (kind, label), own in clips.of_map.items():
        if kind == "method":
            areas = [clip.area for clip in own]
            turned = [None if area is None else -area for area in areas]
            regrets[label] = _placed(ids, clips.ids, [-clip.regret for clip in own])
            delays[label] = _placed(ids, clips.ids, turned)
    return {"regret": regrets, "delay": delays}


def _of_detection(stored: Stored, ids: Sequence[str]) -> dict[str, Table]:
    found: dict[str, list[float | None]] = {}
    for spoken in explained(stored):
        signs = clip_signs(stored, spoken)
        unheard = signs.effects <= np.quantile(signs.effects, LOWEST)
        for (name, method), values in signs.scores.items():
            if name == "entropy" and method is not None:
                area = detection(values, unheard, [signs.cluster] * len(values), seed=0).auroc
                found.setdefault(method, []).append(area.value)
    return {"detection": found}


# By the uses that one reading of the maps gives.
_READ: Mapping[tuple[str, ...], Callable[[Stored, Sequence[str]], Mapping[str, Table]]] = {
    ("word-times",): _of_words,
    ("regret", "delay"): _of_streaming,
    ("detection",): _of_detection,
}


def _placed(
    ids: Sequence[str], own: Sequence[str], values: Sequence[float | None]
) -> list[float | None]:
    """Return a column over all clips, None for those that a use says nothing of."""
    known = dict(zip(own, values, strict=True))
    return [known.get(clip) for clip in ids]


def mean_known(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
