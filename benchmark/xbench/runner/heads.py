"""Which heads of a model to use: all of them ranked, and the set that agrees best, chosen on other clips.

Every cross-attention head is a method (`raw-attention`), scored by the task's headline metric against its headline
reference and compared with all others at once. The set is that of `greedy-heads`, which learns from the dev split
only. A manifest of one's own has no dev split: half of its clusters, drawn by the seed, become one, and heads are
ranked and sets scored on the other half. The best of many heads on the clips that rank them is an upper bound (an
oracle); the score of the set is not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from xbench import registry, stats
from xbench.data.audio import readable_sha256
from xbench.data.datasets import utterances_for
from xbench.data.manifest import Manifest
from xbench.errors import UsageError
from xbench.inputs import RESULT_BYTES, read_json
from xbench.results import Interval, RunResult
from xbench.runner import record
from xbench.runner.assemble import assemble
from xbench.runner.bench import bench_of
from xbench.runner.estimate import within_reach
from xbench.runner.plan import Plan, expand, prepare
from xbench.runner.progress import SILENT, Reporter
from xbench.runner.run import run_task
from xbench.spec import Call, ExecutionOptions, RunSpec, Selection
from xbench.store import write_atomically
from xbench.tasks import resolve_tasks

_SWEEP = Call.make("raw-attention", {"layer": "*", "head": "*"})
_SETS = ("best-head", "alignment-heads", "mean-heads")  # what the chosen set is compared with


@dataclass(frozen=True)
class RankedHead:
    """One head with its score; ranks: the best and the worst that it may have, None without a test.

    best: not distinguished from the head with the highest score (only itself where there is no test).
    """

    layer: int
    head: int
    score: Interval
    ranks: tuple[int, int] | None
    best: bool


@dataclass(frozen=True)
class HeadSet:
    """A set of heads, averaged, with its score; heads: (layer, head), None where it is unsupported or means all.

    chosen: on which clips, `none` for sets that nothing was learned for. best: not distinguished from the best set.
    """

    method: str
    heads: list[list[int]] | None
    chosen: Literal["dev", "oracle", "none"]
    score: Interval
    best: bool


@dataclass(frozen=True)
class HeadRanking:
    """All heads, best first, and sets of heads; recommended: the (layer, head) pairs of the set chosen on dev.

    n, clusters: what the scores are means over. dev: utterances that the set was chosen on. untested: why no heads
    could be told apart; resolution: how far from the best a head must lie to be told apart. single: the results of
    the heads, for a picture.
    """

    task: str
    model: str
    revision: str
    metric: str
    reference: str
    n: int
    clusters: int
    failures: int
    dev: int
    floor: Interval
    ceiling: Interval
    heads: list[RankedHead]
    sets: list[HeadSet]
    recommended: list[list[int]]
    untested: str | None
    resolution: float | None
    single: tuple[RunResult, ...]


def rank_heads(
    spec: RunSpec, k: int, options: ExecutionOptions, reporter: Reporter = SILENT
) -> HeadRanking:
    """Rank the heads of a model on one task and choose a set of at most k; spec: without methods.

    What is in the store is not computed again. Raises UsageError for several tasks, for a metric that heads
    cannot be chosen by, and where no clip could be scored.
    """
    plan = heads_plan(spec, k)
    bench = bench_of(plan, options)
    plan = within_reach(plan, bench, reporter)
    info = bench.info
    methods = expand(plan.methods, info.decoder_layers, info.heads)
    outcome = run_task(plan.tasks[0], methods, bench, plan.spec.seed, reporter)
    record.keep(bench.store, plan.tasks[0], info, plan.spec)
    results = [assemble(outcome, method, info, plan.spec) for method in methods]
    single = tuple(r for r in results if r.method.name == _SWEEP.name)
    sets = [r for r in results if r.method.name != _SWEEP.name]
    return _ranking(single, sets, [list(pair) for pair in info.alignment_heads], spec.seed)


def heads_plan(spec: RunSpec, k: int) -> Plan:
    """Return the run that ranks heads: the headline score only, and a dev split where the clips can give one."""
    named = [task.name for task in resolve_tasks(spec.tasks, spec.preset)]
    if len(named) != 1:
        raise UsageError(
            f"heads are ranked on one task at a time; name one with --task: {', '.join(named)}"
        )
    methods = (_SWEEP, Call.make("greedy-heads", {"k": k}), *map(Call, _SETS))
    first = prepare(replace(spec, methods=methods))
    task = first.tasks[0].task
    metric = next(c for c in task.metrics if c.name == task.headline.metric)
    description = registry.metrics.get(metric.name)
    if description.takes != "reference" or not description.higher_is_better:
        raise UsageError(
            f"heads cannot be chosen by '{metric.name}': it takes a metric that compares with a reference and is "
            "better when higher, such as --metric pearson"
        )
    reference = next(c for c in task.references if c.name == task.headline.reference)
    narrow = replace(first.spec, references=(reference,), metrics=(metric,))
    if spec.data is None:
        return prepare(narrow)
    dev, test = halves(first.tasks[0].manifest, spec.seed)
    if not dev:
        return prepare(narrow)
    plan = prepare(replace(narrow, selection=Selection(ids=test)))
    own = plan.tasks[0]
    split = utterances_for(
        own.task, spec.data, Selection(ids=dev), own.task.dataset.split, readable_sha256
    )
    return replace(plan, tasks=(replace(own, dev=split),))


def halves(manifest: Manifest, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the ids of the utterances to choose on and of those to score on: no cluster is in both.

    Half of the clusters each, drawn by the seed; of an odd number the scored half has one more. With one
    cluster there is nothing to choose on.
    """
    clusters = sorted({u.cluster for u in manifest.utterances})
    drawn = np.random.default_rng(seed).permutation(len(clusters))[: len(clusters) // 2]
    chosen = {clusters[index] for index in drawn}
    parts: dict[bool, list[str]] = {True: [], False: []}
    for utterance in manifest.utterances:
        parts[utterance.cluster in chosen].append(utterance.id)
    return tuple(parts[True]), tuple(parts[False])


def write_alignment_heads(path: Path, heads: Sequence[Sequence[int]]) -> None:
    """Write `alignment_heads` as generation_config.json has it; other keys of an existing file stay.

    Raises UsageError where the existing file holds no JSON object.
    """
    kept = read_json(path, RESULT_BYTES) if path.exists() else {}
    if not isinstance(kept, dict):
        raise UsageError(
            f"{path}: it holds no JSON object; name a generation_config.json or a new file"
        )
    content = {**kept, "alignment_heads": sorted(map(list, heads))}
    write_atomically(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _ranking(
    single: tuple[RunResult, ...],
    sets: Sequence[RunResult],
    published: list[list[int]],
    seed: int,
) -> HeadRanking:
    shown = single[0]
    if not shown.scores or shown.status in ("failed", "unsupported"):
        first = f"; the first: {shown.failures[0].message}" if shown.failures else ""
        raise UsageError(f"no head has a score: {shown.reason}{first}")
    heads = _compared(single, seed)
    by_label = {result.method.label: result for result in single}
    of_sets = _compared([r for r in sets if r.scores and r.scores[0].value is not None], seed)
    ordered = [by_label[label] for label in heads.order]
    unscored = [result for result in single if result.method.label not in heads.order]
    greedy = next(r for r in sets if r.method.name == "greedy-heads")
    score = shown.scores[0]
    return HeadRanking(
        task=shown.task.name,
        model=shown.model.name,
        revision=shown.model.revision,
        metric=score.metric,
        reference=str(score.reference),
        n=score.n,
        clusters=score.n_clusters,
        failures=len(shown.failures),
        dev=greedy.method.fitted.n if greedy.method.fitted else 0,
        floor=score.floor,
        ceiling=Interval(
            score.ceiling.value, score.ceiling.ci, score.ceiling.reason, score.ceiling.ci_reason
        ),
        heads=[_head(result, heads) for result in (*ordered, *unscored)],
        sets=[_set(result, of_sets, published) for result in sets],
        recommended=_heads_of(greedy, published) or [],
        untested=heads.reason,
        resolution=heads.resolution,
        single=single,
    )


def _compared(results: Sequence[RunResult], seed: int) -> stats.Comparison:
    column = f"{results[0].scores[0].metric}@{results[0].scores[0].reference}" if results else ""
    return stats.compare(
        [result.method.label for result in results],
        [result.utterances[column] for result in results],
        results[0].utterances["cluster"] if results else [],
        higher_is_better=True,
        seed=seed,
    )


def _best(label: str, compared: stats.Comparison) -> bool:
    return label in (compared.best_group or compared.order[:1])


def _head(result: RunResult, compared: stats.Comparison) -> RankedHead:
    label = result.method.label
    ranks = (
        (compared.rank_low[label], compared.rank_high[label])
        if label in compared.rank_low
        else None
    )
    params = result.method.params
    return RankedHead(
        int(params["layer"]), int(params["head"]), _score(result), ranks, _best(label, compared)
    )


def _set(result: RunResult, compared: stats.Comparison, published: list[list[int]]) -> HeadSet:
    fitted = result.method.fitted
    return HeadSet(
        method=result.method.name,
        heads=_heads_of(result, published),
        chosen=fitted.split if fitted else "none",
        score=_score(result),
        best=_best(result.method.label, compared),
    )


def _heads_of(result: RunResult, published: list[list[int]]) -> list[list[int]] | None:
    if result.method.fitted:
        return [list(pair) for pair in result.method.fitted.choice["heads"]]
    return published if result.method.name == "alignment-heads" and published else None


def _score(result: RunResult) -> Interval:
    if not result.scores:
        return Interval(None, None, result.reason, None)
    found = result.scores[0]
    return Interval(
        found.value,
        found.ci,
        result.reason if result.status == "unsupported" else found.reason,
        found.ci_reason,
    )
