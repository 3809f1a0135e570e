"""Result files as the tables of the site: tasks, models, methods, runs, and one row per score.

A *board* is what can be compared directly: one task on the same clips, one model, one metric and one
reference. Ranks, rank intervals and the group not distinguished from the best are computed here,
through `xbench.stats`, and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from xbench import registry
from xbench.description import MethodDescription, MetricDescription
from xbench.results import column_name
from xbench.site.load import Result, identity
from xbench.site.ranking import Pair, rank
from xbench.site.text import digest, slugs


@dataclass(frozen=True)
class Task:
    """One task on one set of clips; `title` tells variants of one name apart."""

    slug: str
    name: str
    title: str
    facts: Mapping[str, Any] = field(compare=False)

    @property
    def headline(self) -> tuple[str, str | None]:
        """Metric and reference that the task ranks by."""
        return self.facts["headline"]["metric"], self.facts["headline"]["reference"]


@dataclass(frozen=True)
class Model:
    """One checkpoint in one precision."""

    slug: str
    name: str
    title: str
    facts: Mapping[str, Any] = field(compare=False)


@dataclass(frozen=True)
class Config:
    """A method with its parameters: what has a row of its own on a board.

    head: (layer, head) of a single head; such rows are shown but not ranked, because the best of a
    sweep is chosen on the very clips that score it. oracle: it learned from the test clips.
    estimates: the reference whose own estimator it is, against which it has no rank.
    """

    slug: str
    label: str
    method: str
    family: str
    gradients: bool
    oracle: bool
    head: tuple[int | None, int] | None
    estimates: str | None
    facts: Mapping[str, Any] = field(compare=False)

    @property
    def control(self) -> bool:
        """Whether it is a control, that is no explanation."""
        return self.family == "control"

    @property
    def ranked(self) -> bool:
        """Whether it takes part in ranks and groups."""
        return self.head is None and not self.oracle

    def repeats(self, reference: str | None) -> bool:
        """Whether it is this reference's own estimator, drawn again."""
        return reference is not None and self.estimates == reference


@dataclass(frozen=True)
class Method:
    """A method over all its parameters, described by the registry where it is registered."""

    slug: str
    name: str
    family: str
    description: MethodDescription | None
    configs: tuple[Config, ...]


@dataclass(frozen=True)
class Metric:
    """A metric as the registry describes it, or what the results say of an unknown one."""

    name: str
    family: str
    higher: bool
    description: MetricDescription | None


@dataclass(frozen=True)
class Submission:
    """Results made by the same command on the same task and model: one page of provenance."""

    id: str
    task: Task
    model: Model
    date: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Run:
    """One result file: a configured method on a task and a model."""

    id: str
    file: str
    sha256: str
    task: Task
    model: Model
    config: Config
    submission: str
    data: Mapping[str, Any]

    @property
    def date(self) -> str:
        """Day on which it finished."""
        return str(self.data["provenance"]["finished"])[:10]

    @property
    def cost(self) -> Mapping[str, Any]:
        """What it took."""
        cost: Mapping[str, Any] = self.data["cost"]
        return cost

    @property
    def passes(self) -> int | None:
        """Forward and backward passes together; None where they were not counted."""
        both = (self.cost["forward_passes"], self.cost["backward_passes"])
        return None if None in both else sum(both)

    @property
    def gates(self) -> Sequence[Mapping[str, Any]]:
        """Sanity checks, where the result records them."""
        return self.data.get("gates") or ()


Number = float | None


@dataclass(frozen=True)
class Row:
    """One score. rank_reason: why it has no rank; skill_reason: why it has no skill."""

    run: Run
    metric: str
    reference: str | None
    value: Number
    reason: str | None
    low: Number
    high: Number
    ci_reason: str | None
    n: int
    n_clusters: int
    clusters_assumed: bool
    undefined: Mapping[str, int]
    floor: Number
    ceiling: Number
    ceiling_reason: str | None
    skill: Number
    skill_low: Number
    skill_high: Number
    skill_reason: str | None
    disattenuated: Number
    rank: int | None = None
    rank_low: int | None = None
    rank_high: int | None = None
    best: bool = False
    rank_reason: str | None = None

    @property
    def config(self) -> Config:
        """The configured method that was scored."""
        return self.run.config


@dataclass(frozen=True)
class Board:
    """All rows of one task, model, metric and reference, best first, missing values last."""

    task: Task
    model: Model
    metric: str
    reference: str | None
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    reason: str | None


@dataclass(frozen=True)
class Tables:
    """Everything the pages and data files are made of."""

    tasks: tuple[Task, ...]
    models: tuple[Model, ...]
    methods: tuple[Method, ...]
    configs: tuple[Config, ...]
    metrics: Mapping[str, Metric]
    runs: tuple[Run, ...]
    submissions: tuple[Submission, ...]
    rows: tuple[Row, ...]
    boards: tuple[Board, ...]
    _index: dict[tuple[str, ...], dict[tuple[Any, ...], list[Board]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def select(self, **wanted: Any) -> list[Board]:
        """Return the boards with this task, model, metric or reference."""
        names = tuple(sorted(wanted))
        if names not in self._index:
            index = self._index[names] = defaultdict(list)
            for board in self.boards:
                index[tuple(_key(getattr(board, name)) for name in names)].append(board)
        return self._index[names].get(tuple(_key(wanted[name]) for name in names), [])


def _key(thing: Any) -> Any:
    return thing.slug if isinstance(thing, Task | Model) else thing


def tabulate(results: Sequence[Result]) -> Tables:
    """Return the tables of accepted results; the order of the files has no effect."""
    tasks = _tasks(results)
    models = _models(results)
    configs = _configs(results)
    runs = tuple(
        Run(
            id=digest("\0".join(identity(r.data)), 10),
            file=r.file,
            sha256=r.sha256,
            task=tasks[_task_key(r.data)],
            model=models[_model_key(r.data)],
            config=configs[_config_key(r.data)],
            submission=digest("\0".join(_submission_key(r.data)), 10),
            data=r.data,
        )
        for r in results
    )
    metrics = _metrics(runs)
    boards = tuple(_boards([row for run in runs for row in _rows(run)], metrics))
    return Tables(
        tasks=_by_title(tasks.values()),
        models=_by_title(models.values()),
        methods=_methods(configs.values()),
        configs=tuple(sorted(configs.values(), key=lambda c: (c.label, c.slug))),
        metrics=metrics,
        runs=runs,
        submissions=_submissions(runs),
        rows=tuple(row for board in boards for row in board.rows),
        boards=boards,
    )


def _by_title(things: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(things, key=lambda thing: (_natural(thing.title), thing.slug)))


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key that puts `part-2` before `part-10`."""
    pieces = re.split(r"([0-9]{1,9})", text.lower())
    return [(int(p), "") if i % 2 else (-1, p) for i, p in enumerate(pieces)]


# -- what the results are about --------------------------------------------------------------------


def _task_key(data: Mapping[str, Any]) -> tuple[str, str, str]:
    task = data["task"]
    return task["name"], task["hash"], task["dataset"]["fingerprint"]


def _tasks(results: Sequence[Result]) -> dict[tuple[str, str, str], Task]:
    facts = {_task_key(r.data): r.data["task"] for r in results}
    uses = Counter(_task_key(r.data) for r in results)
    titles = _titles(
        uses, lambda key: f"{facts[key]['dataset']['n']} clips, {facts[key]['preset']}"
    )
    names = slugs(titles.values())
    return {key: Task(names[titles[key]], key[0], titles[key], facts[key]) for key in facts}


def _model_key(data: Mapping[str, Any]) -> tuple[str, str, str]:
    model = data["model"]
    return model["name"], model["revision"], model["precision"]


def _models(results: Sequence[Result]) -> dict[tuple[str, str, str], Model]:
    facts = {_model_key(r.data): r.data["model"] for r in results}
    uses = Counter(_model_key(r.data) for r in results)
    titles = _titles(uses, lambda key: key[2])
    names = slugs(titles.values())
    return {key: Model(names[titles[key]], key[0], titles[key], facts[key]) for key in facts}


def _titles(uses: Mapping[tuple[str, str, str], int], variant: Any) -> dict[Any, str]:
    """Name the most used variant of a name plainly, and others with what tells them apart."""
    titles = {}
    by_name = defaultdict(list)
    for key in uses:
        by_name[key[0]].append(key)
    for name, keys in by_name.items():
        main, *others = sorted(keys, key=lambda key: (-uses[key], key))
        titles[main] = name
        for key in others:
            titles[key] = f"{name} ({variant(key)}, {digest(repr(key), 6)})"
    return titles


def _config_key(data: Mapping[str, Any]) -> tuple[str, str, str, bool]:
    method = data["method"]
    fitted = method.get("fitted") or {}
    params = json.dumps(method["params"], sort_keys=True)
    return method["name"], method["version"], params, fitted.get("split") == "oracle"


def _configs(results: Sequence[Result]) -> dict[tuple[str, str, str, bool], Config]:
    facts = {_config_key(r.data): r.data["method"] for r in results}
    newest = {key[0]: max(k[1] for k in facts if k[0] == key[0]) for key in facts}
    labels = {key: _label(key, facts[key], newest[key[0]]) for key in facts}
    twice = Counter(labels.values())
    labels = {
        key: f"{label} ({digest(repr(key), 6)})" if twice[label] > 1 else label
        for key, label in labels.items()
    }
    names = slugs(labels.values())
    return {
        key: Config(
            slug=names[labels[key]],
            label=labels[key],
            method=key[0],
            family=method["kind"],
            gradients=method["uses_gradients"],
            oracle=key[3],
            head=_single_head(method["params"]),
            estimates=known.estimates if (known := described(key[0])) else None,
            facts=method,
        )
        for key, method in facts.items()
    }


def _label(key: tuple[str, str, str, bool], method: Mapping[str, Any], newest: str) -> str:
    """Write the call with the parameters that differ from the registered defaults."""
    name, version, _, oracle = key
    description = described(name)
    defaults = {p.name: p.default for p in description.parameters} if description else {}
    shown = [
        f"{k}={str(v).lower() if isinstance(v, bool) else v}"
        for k, v in sorted(method["params"].items())
        if k not in defaults or defaults[k] != v
    ]
    label = f"{name}:{','.join(shown)}" if shown else name
    label = label if len(label) <= 120 else f"{label[:110]}… {digest(label, 6)}"
    if version != newest:
        label += f" v{version}"
    return f"{label} (oracle)" if oracle else label


def _single_head(params: Mapping[str, Any]) -> tuple[int | None, int] | None:
    layer, head = params.get("layer"), params.get("head")
    if type(head) is not int:
        return None
    return (layer if type(layer) is int else None), head


def described(name: str) -> MethodDescription | None:
    """Return the registered description of a method, if there is one."""
    return next((d for d in registry.methods.descriptions() if d.name == name), None)


def _methods(configs: Iterable[Config]) -> tuple[Method, ...]:
    by_name = defaultdict(list)
    for config in sorted(configs, key=lambda c: (c.label, c.slug)):
        by_name[config.method].append(config)
    names = slugs(by_name)
    return tuple(
        Method(names[name], name, found[0].family, described(name), tuple(found))
        for name, found in sorted(by_name.items())
    )


def _metrics(runs: Sequence[Run]) -> dict[str, Metric]:
    known = {d.name: d for d in registry.metrics.descriptions()}
    directions = {s["metric"]: s["direction"] for run in runs for s in run.data["scores"]}
    for run in runs:
        directions.setdefault(run.task.headline[0], "higher")
    return {
        name: Metric(
            name=name,
            family=known[name].family if name in known else "other",
            higher=known[name].higher_is_better if name in known else direction == "higher",
            description=known.get(name),
        )
        for name, direction in sorted(directions.items())
    }


def _submission_key(data: Mapping[str, Any]) -> tuple[str, ...]:
    made = data["provenance"]
    return (*_task_key(data), *_model_key(data), made["xbench"], *made["command"])


def _submissions(runs: Sequence[Run]) -> tuple[Submission, ...]:
    by_id = defaultdict(list)
    for run in runs:
        by_id[run.submission].append(run)
    found = [
        Submission(key, group[0].task, group[0].model, max(r.date for r in group), tuple(group))
        for key, group in by_id.items()
    ]
    return tuple(sorted(found, key=lambda s: (s.date, s.id), reverse=True))


# -- scores ----------------------------------------------------------------------------------------


def _rows(run: Run) -> list[Row]:
    if not run.data["scores"]:
        reason = run.data["reason"] or run.data["status"]
        return [_missing(run, reason)]
    return [_row(run, score) for score in run.data["scores"]]


_OPTIONAL = (
    *("value", "low", "high", "ci_reason", "floor", "ceiling", "ceiling_reason"),
    *("skill", "skill_low", "skill_high", "skill_reason", "disattenuated"),
)


def _missing(run: Run, reason: str) -> Row:
    metric, reference = run.task.headline
    nothing = dict.fromkeys(_OPTIONAL)
    return Row(
        run=run,
        metric=metric,
        reference=reference,
        reason=reason,
        n=0,
        n_clusters=0,
        clusters_assumed=False,
        undefined={},
        rank_reason="no-value",
        **nothing,  # type: ignore[arg-type]  # all of them may be None
    )


def _row(run: Run, score: Mapping[str, Any]) -> Row:
    low, high = _interval(score["ci"])
    skill = score["skill"]
    skill_low, skill_high = _interval(skill["ci"])
    return Row(
        run=run,
        metric=score["metric"],
        reference=score["reference"],
        value=rounded(score["value"]),
        reason=score["reason"],
        low=low,
        high=high,
        ci_reason=score["ci_reason"],
        n=score["n"],
        n_clusters=score["n_clusters"],
        clusters_assumed=score["clusters_assumed"],
        undefined=score["undefined"],
        floor=rounded(score["floor"]["value"]),
        ceiling=rounded(score["ceiling"]["value"]),
        ceiling_reason=score["ceiling"]["reason"],
        skill=rounded(skill["value"]),
        skill_low=skill_low,
        skill_high=skill_high,
        skill_reason=skill["reason"],
        disattenuated=rounded(score["disattenuated"]["value"]),
    )


def rounded(value: Number) -> Number:
    """Round to four decimals, once, so that pages and data files say the same."""
    return None if value is None else round(float(value), 4) + 0.0


def _interval(ci: Sequence[float] | None) -> tuple[Number, Number]:
    return (rounded(ci[0]), rounded(ci[1])) if ci else (None, None)


def _boards(rows: Sequence[Row], metrics: Mapping[str, Metric]) -> Iterable[Board]:
    groups: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        key = (row.run.task.slug, row.run.model.slug, row.metric, row.reference or "")
        groups[key].append(row)
    for group in sorted(groups.values(), key=_board_order):
        yield _board(group, metrics[group[0].metric].higher)


def _board_order(group: Sequence[Row]) -> tuple[Any, ...]:
    """Sort key of boards: task, model, what the task is ranked by, then the other scores."""
    first = group[0]
    score = (first.metric, first.reference or "")
    return (
        *(_natural(first.run.task.title), first.run.task.slug),
        *(_natural(first.run.model.title), first.run.model.slug),
        *((first.metric, first.reference) != first.run.task.headline, score),
    )


def _board(group: Sequence[Row], higher: bool) -> Board:
    first = group[0]
    rows, contenders = [], {}
    newest: dict[str, Row] = {}
    for row in sorted(group, key=lambda r: (r.run.data["provenance"]["finished"], r.run.id)):
        newest[row.config.slug] = row
    for row in group:
        why = _unranked(row, newest[row.config.slug] is row)
        if why is None:
            contenders[row.config.slug] = row
        else:
            rows.append(replace(row, rank_reason=why))
    ranking = rank(
        {
            slug: utterance_values(row.run, row.metric, row.reference)
            for slug, row in contenders.items()
        },
        higher,
    )
    for slug, row in contenders.items():
        place = ranking.places.get(slug)
        rows.append(
            replace(row, rank_reason=ranking.reason)
            if place is None
            else replace(
                row, rank=place.rank, rank_low=place.low, rank_high=place.high, best=place.best
            )
        )
    ordered = sorted(rows, key=lambda row: order(row, higher))
    return Board(
        first.run.task,
        first.run.model,
        first.metric,
        first.reference,
        tuple(ordered),
        ranking.pairs,
        ranking.reason,
    )


def order(row: Row, higher: bool) -> tuple[bool, float, int, str, str]:
    """Sort key of rows: best first, missing values last."""
    value = row.value or 0.0
    label, id = row.config.label, row.run.id
    return row.value is None, -value if higher else value, row.rank or 0, label, id


def _unranked(row: Row, newest: bool) -> str | None:
    if row.value is None:
        return "no-value"
    if row.config.head is not None:
        return "single-head"
    if row.config.oracle:
        return "oracle"
    if row.config.repeats(row.reference):
        return "the-reference-drawn-again"
    if not newest:
        return "superseded"
    values = row.run.data["utterances"].get(column_name(row.metric, row.reference), ())
    if not any(isinstance(value, int | float) for value in values):
        return "no-values-per-utterance"
    return None


def utterance_values(
    run: Run, metric: str, reference: str | None, prefix: str = ""
) -> dict[str, tuple[float | None, str]]:
    """Return value and cluster of every utterance; a column that is not there gives none."""
    columns = run.data["utterances"]
    values = columns.get(prefix + column_name(metric, reference), [])
    return {
        utterance: (value if isinstance(value, int | float) else None, cluster)
        for utterance, value, cluster in zip(
            columns["id"], values, columns["cluster"], strict=False
        )
    }
