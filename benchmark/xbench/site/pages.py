"""What stands on each page: contexts for the templates, nothing of HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xbench import registry
from xbench.results import column_name
from xbench.site import charts, data
from xbench.site.differences import BASE, Difference, base_of, differences
from xbench.site.formulas import formula
from xbench.site.overall import Overall, Standing, overall
from xbench.site.tables import Board, Config, Model, Row, Run, Tables, Task
from xbench.site.text import digest
from xbench.stats import pareto_front

FIRST_ROWS = (
    50  # rows that stand in the results page itself; the script adds the rest of its first 100
)
PAGE_MAPS = 120  # maps on the page of all heads; the others stand on the pages of their models
PAGE_BYTES = 140_000  # of tables on a task's page, as far as they can be foreseen
PAGE_CELLS = 1500  # weight of tables on a model's page; what goes beyond is linked (150 kB a page)


@dataclass(frozen=True)
class Page:
    """One page: where it lies, its template, and what the template gets."""

    path: str
    template: str
    context: Mapping[str, Any]


@dataclass(frozen=True)
class Example:
    """One exported utterance: its bundle, its clip, and which share of the other clips it does better than.

    better: {map id: {score: (clips beaten, other clips)}}.
    """

    id: str
    bundle: Mapping[str, Any]
    audio: str | None
    better: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)


def headline(tables: Tables, family: str) -> tuple[str, str | None] | None:
    """Return the metric and reference of a family that most results carry.

    What tasks name as their headline comes first.
    """
    named = Counter(run.task.headline for run in tables.runs)
    carried = Counter((row.metric, row.reference) for row in tables.rows if row.value is not None)
    found = {
        key
        for key in (*named, *carried)
        if tables.metrics.get(key[0]) is not None and tables.metrics[key[0]].family == family
    }
    return max(
        found, key=lambda k: (named[k], carried[k], _backwards(column_name(*k))), default=None
    )


def _backwards(text: str) -> tuple[int, ...]:
    """Turn alphabetical order around, for a maximum that should take the first name."""
    return tuple(-ord(c) for c in text)


def shown_scores(tables: Tables) -> list[tuple[str, str | None]]:
    """Return the headline of each family that has one, agreement first."""
    found = [headline(tables, family) for family in ("agreement", "intervention", "other")]
    shown = [key for key in found if key is not None]
    return shown[:2] if len(shown) > 1 else shown


def pages(tables: Tables, examples: Sequence[Example], refused: Sequence[Any]) -> Iterator[Page]:
    """Yield every page of the site."""
    shown = shown_scores(tables)
    standings = [overall(tables, *key) for key in shown]
    yield _home(tables, standings)
    yield from _lists(tables)
    for task in tables.tasks:
        yield _task(tables, task, shown)
    for model in tables.models:
        yield _model(tables, model, shown, examples)
    for method in tables.methods:
        yield _method(tables, method, shown)
    yield _heads(tables)
    yield _cost(tables, standings)
    yield Page("compare.html", "compare.html", {"configs": tables.configs, "models": tables.models})
    yield _results(tables)
    for submission in tables.submissions:
        yield Page(f"runs/{submission.id}.html", "run.html", _submission(tables, submission))
    yield Page("examples/index.html", "examples.html", {"examples": examples})
    for example in examples:
        yield Page(f"examples/{example.id}.html", "example.html", _example(tables, example))
    yield Page("about.html", "about.html", _about(tables, refused))
    yield Page("downloads.html", "downloads.html", {"tables": tables, "shown": shown})
    yield Page("changes.html", "changes.html", {"submissions": tables.submissions})
    yield Page("404.html", "404.html", {})


# -- forest plots ----------------------------------------------------------------------------------


def forest_of_standings(
    table: Overall, apart: Mapping[str, Difference] | None = None
) -> dict[str, Any]:
    """Return a forest plot of methods over all cells of a block; apart: differences to mean-heads."""
    lines = [(s, s.config, _dot(s, s.config), None) for s in table.standings]
    return _forest(lines, table.metric, table.reference, table.reason, apart=apart)


def forest_of_board(board: Board, apart: Mapping[str, Difference] | None = None) -> dict[str, Any]:
    """Return a forest plot of the methods of one board, single heads left out."""
    rows = [
        row for row in board.rows if row.config.head is None and row.rank_reason != "superseded"
    ]
    lines = [(row, row.config, _dot(row, row.config), row) for row in rows]
    return _forest(lines, board.metric, board.reference, board.reason, apart=apart)


def forest_of_cells(rows: Sequence[Row]) -> dict[str, Any]:
    """Return a forest plot of one method over tasks and models."""
    lines = [(row, row.config, _dot(row, row.config), row) for row in rows]
    return _forest(lines, rows[0].metric, rows[0].reference, None, band=False)


def _dot(numbers: Row | Standing, config: Config) -> charts.Dot:
    return charts.Dot(
        numbers.value,
        numbers.low,
        numbers.high,
        numbers.floor,
        numbers.ceiling,
        config.family,
        hollow=config.oracle,
    )


def _forest(
    lines: Sequence[tuple[Any, Config, charts.Dot, Row | None]],
    metric: str,
    reference: str | None,
    reason: str | None,
    band: bool = True,
    apart: Mapping[str, Difference] | None = None,
) -> dict[str, Any]:
    dots = [dot for _, _, dot, _ in lines]
    led = [dot for s, _, dot, _ in lines if s.best] if band else []
    told = (metric, reference, [config.slug for _, config, _, _ in lines], dots)
    axis, pictures = charts.forest(dots, led, f"f{digest(repr(told), 8)}")
    apart = apart or {}
    found = [d for _, config, _, _ in lines if (d := apart.get(config.slug))]
    span = charts.scale_over((0.0, *(x for d in found for x in (d.value, d.low, d.high))))
    return {
        "metric": metric,
        "reference": reference,
        "reason": reason,
        "axis": axis,
        "families": sorted({config.family for _, config, _, _ in lines}),
        "lines": [
            {
                "s": numbers,
                "config": config,
                "row": row,
                "svg": picture,
                "apart": _apart(numbers, config, apart.get(config.slug), span),
            }
            for (numbers, config, _, row), picture in zip(lines, pictures, strict=True)
        ],
        "grouped": bool(led),
        "span": charts.axis(span) if found else None,
    }


def _apart(
    numbers: Row | Standing, config: Config, found: Difference | None, span: charts.Scale
) -> dict[str, Any]:
    """Return a line's difference to mean-heads with its picture, or why it has none."""
    if found is not None:
        svg = charts.difference_line(found.value, found.low, found.high, found.outcome, span)
        return {"d": found, "svg": svg, "why": None}
    return {"d": None, "svg": "", "why": _not_paired(numbers, config)}


def _not_paired(numbers: Row | Standing | None, config: Config) -> str:
    if config.label == BASE:
        return "what the others are compared with"
    if isinstance(numbers, Row):
        return numbers.reason or numbers.rank_reason or "not compared"
    return "not compared"


# -- home ------------------------------------------------------------------------------------------


def _home(tables: Tables, standings: Sequence[Overall]) -> Page:
    main = standings[0] if standings else None
    return Page(
        "index.html",
        "home.html",
        {
            "advice": _advice(standings),
            "cards": _cards(tables, standings),
            "forests": [(table, forest_of_standings(table)) for table in standings],
            "metrics": tables.metrics,
            "matrix": _matrix(tables, main) if main else None,
            "pareto": _pareto_charts(main, small=True)[0] if main else None,
            "sides": _sides(standings),
            "latest": tables.submissions[:6],
            "main": main,
        },
    )


def _advice(standings: Sequence[Overall]) -> dict[str, Any] | None:
    """Return which method to begin with: the cheapest of those that lead on every score shown.

    None where nothing leads; without a method that leads everywhere, `tops` is empty.
    """
    led = [table for table in standings if any(not s.config.control for s in table.best)]
    if not led:
        return None
    groups = [{s.config.slug: s for s in t.best if not s.config.control} for t in led]
    everywhere = [s for slug, s in groups[0].items() if all(slug in g for g in groups)]
    device, priced = _cheapest_first(everywhere)
    top = next(iter(priced or everywhere), None)
    return {
        "tables": led,
        "tops": [group[top.config.slug] for group in groups] if top else [],
        "leading": len(everywhere),
        "device": device if priced else None,
        "missing": len(standings) - len(led),
    }


def _cheapest_first(standings: Sequence[Standing]) -> tuple[str | None, list[Standing]]:
    """Return the device on which most of these were timed, and those timed on it, cheapest first."""
    timed = [s for s in standings if s.seconds and len(s.devices) == 1]
    device = _devices(timed)[0] if timed else None
    on = [s for s in timed if s.devices == (device,)]
    return device, sorted(on, key=lambda s: (s.seconds, s.config.label))


def _devices(timed: Sequence[Standing]) -> list[str]:
    """Return the devices of standings that have one each, most used first."""
    uses = Counter(s.devices[0] for s in timed)
    return sorted(uses, key=lambda device: (-uses[device], device))


def _cards(tables: Tables, standings: Sequence[Overall]) -> list[dict[str, Any]]:
    """Return the answers of the first screen: a question, the whole leading group, its interval."""
    titles = {
        "agreement": "Agrees best with the reference",
        "intervention": "Does best when the input is changed",
    }
    cards = []
    for table in standings:
        family = tables.metrics[table.metric].family
        cards.append(_card(titles.get(family, f"Best {table.metric}"), table))
    if standings:
        main = standings[0]
        plain = overall(tables, main.metric, main.reference, lambda config: not config.gradients)
        if any(s.config.gradients for s in main.standings):
            cards.append(_card("Best without gradients", plain))
        cards.append(_cheapest(main))
    return cards


def _card(title: str, table: Overall) -> dict[str, Any]:
    group = table.best
    top = next(iter(group or table.standings), None)
    return {"title": title, "table": table, "group": group, "top": top, "kind": "score"}


def _cheapest(table: Overall) -> dict[str, Any]:
    """Return the card that names the cheapest of the leading group."""
    device, priced = _cheapest_first([s for s in table.best if not s.config.control])
    top = priced[0] if priced else None
    return {
        "title": "Cheapest in the leading group",
        "table": table,
        "group": (top,) if top else (),
        "top": top,
        "kind": "cost",
        "device": device,
    }


def _sides(standings: Sequence[Overall]) -> list[dict[str, Any]]:
    """Return agreement and intervention side by side, one line per method."""
    if len(standings) < 2:
        return []
    configs = {s.config.slug: s.config for table in standings for s in table.standings}
    found = [{s.config.slug: s for s in table.standings} for table in standings]
    order = [*found[0], *(slug for slug in found[1] if slug not in found[0])]
    return [
        {"config": configs[slug], "standings": [table.get(slug) for table in found]}
        for slug in order
    ]


def _matrix(tables: Tables, table: Overall) -> dict[str, Any]:
    """Return methods by tasks: the mean over the block's models of each task."""
    tasks = list({task.slug: task for task, _ in table.cells}.values())
    models = {model.slug for _, model in table.cells}
    values: dict[tuple[str, str], list[Row]] = {}
    for board in tables.select(metric=table.metric, reference=table.reference):
        for row in board.rows:
            if row.value is not None and row.rank_reason != "superseded":
                values.setdefault((row.config.slug, board.task.slug), []).append(row)
    cells = {key: sum(r.value or 0.0 for r in rows) / len(rows) for key, rows in values.items()}
    inside = [cells[s.config.slug, t.slug] for s in table.standings for t in tasks]
    low, high = (min(inside), max(inside)) if inside else (0.0, 1.0)
    return {
        "tasks": tasks,
        "models": len(models),
        "lines": [
            {
                "config": s.config,
                "cells": [
                    {
                        "value": cells[s.config.slug, t.slug],
                        "level": charts.level(cells[s.config.slug, t.slug], low, high),
                        "row": _only(values[s.config.slug, t.slug]),
                    }
                    for t in tasks
                ],
            }
            for s in table.standings
        ],
    }


def _only(rows: Sequence[Row]) -> Row | None:
    return rows[0] if len(rows) == 1 else None


# -- cost ------------------------------------------------------------------------------------------


def _pareto_charts(table: Overall, small: bool = False) -> list[dict[str, Any]]:
    """Return a chart of seconds for each device, most used first, and one of passes.

    Seconds of two devices never share a front.
    """
    timed = [s for s in table.standings if s.seconds and len(s.devices) == 1]
    charts_ = []
    for device in _devices(timed):
        label = f"seconds per second of audio on {device} (log scale)"
        here = [(s, s.seconds) for s in timed if s.devices == (device,)]
        charts_.append(_pareto(table, here, label, small))
    passes = [(s, s.passes) for s in table.standings if s.passes]
    label = "forward and backward passes per utterance (log scale)"
    return [*charts_, _pareto(table, passes, label, small)]


def _pareto(
    table: Overall, known: Sequence[tuple[Standing, Any]], label: str, small: bool
) -> dict[str, Any]:
    sign = 1 if table.higher else -1
    # The reference itself beats nobody in agreeing with it.
    rivals = [(s, c) for s, c in known if not s.config.repeats(table.reference)]
    best = pareto_front(
        [c for _, c in rivals], [s.value for s, _ in rivals], higher_is_better=table.higher
    )
    # A control may beat a method, but it is no explanation and never on the front itself.
    ahead = {
        s.config.slug
        for (s, _), on in zip(rivals, best, strict=True)
        if on and not s.config.control
    }
    lines = [(s, c, s.config.slug in ahead) for s, c in known]
    points = [
        charts.Point(s.config.label, c, s.value, s.low, s.high, s.config.family, front)
        for s, c, front in lines
    ]
    names = ", ".join(p.label for p in sorted(points, key=lambda p: p.cost) if p.front)
    title = f"{table.metric} against {label}"
    description = f"{len(points)} methods. Not beaten on both cost and score: {names or 'none'}."
    return {
        "svg": charts.pareto_chart(points, title, description, label, small),
        "description": description,
        "label": label,
        "lines": [
            {"s": s, "cost": c, "front": front, "beaten": _beaten(s, c, rivals, sign)}
            for s, c, front in sorted(lines, key=lambda line: line[1])
        ],
        "unpriced": [
            (s, _why_unpriced(s, label))
            for s in table.standings
            if all(s is not other for other, _ in known)
        ],
    }


def _why_unpriced(standing: Standing, label: str) -> str:
    """Say why a method has no place on a chart of this cost."""
    if label.startswith("seconds") and standing.seconds:
        return f"timed on {' and '.join(standing.devices)}"
    known = standing.seconds if label.startswith("seconds") else standing.passes
    return "not recorded" if known is None else "none needed"


def _beaten(
    standing: Standing, cost: float, all_: Sequence[tuple[Standing, float]], sign: int
) -> Standing | None:
    """Return the best method that costs no more and scores higher."""
    better = [
        s
        for s, c in all_
        if c <= cost
        and sign * s.value >= sign * standing.value
        and (c, s.value) != (cost, standing.value)
    ]
    return max(better, key=lambda s: (sign * s.value, s.config.label), default=None)


def _cost(tables: Tables, standings: Sequence[Overall]) -> Page:
    sections = [(table, _pareto_charts(table)) for table in standings]
    devices = sorted({run.cost["device"] for run in tables.runs})
    context = {"sections": sections, "devices": devices, "memory": _memory(tables)}
    return Page("cost.html", "cost.html", context)


def _memory(tables: Tables) -> list[dict[str, Any]]:
    """Return the peak memory of each command on each device, largest first, unknown last.

    It is that of a whole process, so methods that ran together share one figure: no front of methods.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    by_id = {submission.id: submission for submission in tables.submissions}
    for run in tables.runs:
        groups.setdefault((run.submission, run.cost["device"]), []).append(run)
    lines = []
    for (id, device), runs in groups.items():
        known = [peak for run in runs if (peak := data.peak_memory_mb(run)) is not None]
        lines.append(
            {
                "submission": by_id[id],
                "device": device,
                "methods": len({run.config.slug for run in runs}),
                "peak": max(known, default=None),
            }
        )
    return sorted(lines, key=lambda x: (-(x["peak"] or 0), x["submission"].id, x["device"]))


# -- lists, tasks, models, methods, heads ----------------------------------------------------------


def _lists(tables: Tables) -> Iterator[Page]:
    runs = tables.runs
    yield Page(
        "tasks/index.html",
        "tasks.html",
        {
            "lines": [
                (t, sum(r.task is t for r in runs), _models_of(tables, t)) for t in tables.tasks
            ]
        },
    )
    yield Page(
        "models/index.html",
        "models.html",
        {"lines": [(m, sum(r.model is m for r in runs)) for m in tables.models]},
    )
    yield Page("methods/index.html", "methods.html", {"methods": tables.methods})


def _models_of(tables: Tables, task: Task) -> int:
    return len({run.model.slug for run in tables.runs if run.task is task})


def _task(tables: Tables, task: Task, shown: Sequence[tuple[str, str | None]]) -> Page:
    keys = list(dict.fromkeys([task.headline, *shown]))
    boards = {(b.model.slug, b.metric, b.reference): b for b in tables.select(task=task)}
    models = list({b.model.slug: b.model for b in boards.values()}.values())
    present = [key for key in keys if any((m.slug, *key) in boards for m in models)]
    base = base_of(tables)
    sections: list[dict[str, Any]] = []
    room = PAGE_BYTES
    for key in present:
        whole = overall(tables, *key, task=task) if len(models) > 1 else None
        single = [boards[m.slug, *key] for m in models if (m.slug, *key) in boards]
        higher = tables.metrics[key[0]].higher
        apart = [differences(b.pairs, base.slug, higher) if base else {} for b in single]
        together = differences(whole.pairs, base.slug, higher) if whole and base else {}
        plain, more = _foreseen(single)
        room -= plain
        kept = any(apart) and more <= room
        room -= more if kept else 0
        if not kept:
            apart, together = [{} for _ in single], {}
        sections.append(
            {
                "metric": tables.metrics[key[0]],
                "reference": key[1],
                "apart": kept,
                "base": base,
                "whole": whole and forest_of_standings(whole, together),
                "models": [
                    (b.model, forest_of_board(b, d)) for b, d in zip(single, apart, strict=True)
                ][:1]
                if not whole
                else [],
                "matrix": _models_matrix(single, apart) if len(single) > 1 else None,
            }
        )
    return Page(
        f"tasks/{task.slug}.html",
        "task.html",
        {
            "task": task,
            "sections": sections,
            "models": models,
            "others": _other_scores(tables, task, present),
            "qualities": _qualities(tables, task),
            "references": _references([run for run in tables.runs if run.task is task]),
        },
    )


def _foreseen(boards: Sequence[Board]) -> tuple[int, int]:
    """Return about how many bytes the tables of these boards take, and their differences on top."""
    methods = {row.config.slug for b in boards for row in b.rows if row.config.head is None}
    cells = len(methods) * len(boards) if len(boards) > 1 else 0
    return 900 * len(methods) + 130 * cells, 350 * len(methods) + 110 * cells


def _other_scores(
    tables: Tables, task: Task, present: Sequence[tuple[str, str | None]]
) -> list[tuple[str, str | None]]:
    found = {(b.metric, b.reference) for b in tables.select(task=task)} - set(present)
    return sorted(found, key=lambda key: column_name(*key))


def _qualities(tables: Tables, task: Task) -> list[tuple[Model, Mapping[str, Any]]]:
    """Return how good the explained hypotheses of each model are."""
    found = {
        run.model.slug: (run.model, run.data["quality"]) for run in tables.runs if run.task is task
    }
    return [found[slug] for slug in sorted(found)]


def _references(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return each reference of these runs once per model, with masks, reliability and ceilings."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs:
        for reference in run.data["references"]:
            line = {"model": run.model, "reference": reference, "masks": mask_range(reference)}
            found.setdefault((run.model.slug, reference["name"]), line)
    return [found[key] for key in sorted(found)]


def mask_range(reference: Mapping[str, Any]) -> str:
    """Word the masks of a reference, whichever of the two ways a result states them."""
    masks = reference["masks"]
    if isinstance(masks, Mapping):
        low, middle, high = (masks.get(k) for k in ("min", "median", "max"))
        return f"{low} to {high}, median {middle}" if low != high else f"{low}"
    return f"{sum(masks)}" if masks else "none"


def _models_matrix(
    boards: Sequence[Board], apart: Sequence[Mapping[str, Difference]]
) -> dict[str, Any]:
    """Return methods by models of one task, metric and reference; apart: differences per board."""
    rows = {
        (row.config.slug, b.model.slug): row
        for b in boards
        for row in b.rows
        if row.config.head is None and row.rank_reason != "superseded"
    }
    configs = {row.config.slug: row.config for row in rows.values()}
    known = [row.value for row in rows.values() if row.value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    mean = {
        slug: sum(v) / len(v)
        for slug in configs
        if (v := [r.value for (s, _), r in rows.items() if s == slug and r.value is not None])
    }
    ordered = sorted(configs, key=lambda slug: (-mean.get(slug, -1e9), slug))
    return {
        "models": [b.model for b in boards],
        "lines": [
            {
                "config": configs[slug],
                "cells": [
                    {
                        "row": (row := rows.get((slug, b.model.slug))),
                        "level": charts.level(row.value, low, high) if row else None,
                        "d": found.get(slug),
                    }
                    for b, found in zip(boards, apart, strict=True)
                ],
            }
            for slug in ordered
        ],
    }


def _model(
    tables: Tables,
    model: Model,
    shown: Sequence[tuple[str, str | None]],
    examples: Sequence[Example],
) -> Page:
    sections = []
    size = 0
    for task in tables.tasks:
        for key in dict.fromkeys([task.headline, *shown]):
            for board in tables.select(task=task, model=model, metric=key[0], reference=key[1]):
                found = data.heads_of(tables, model, task, *key)
                forest = forest_of_board(board)
                cells = len(forest["lines"]) * 12 + (len(found["values"]) if found else 0)
                heads = _heads_table(found) if found and size + cells < PAGE_CELLS else None
                size += cells
                sections.append(
                    {
                        "task": task,
                        "metric": tables.metrics[key[0]],
                        "reference": key[1],
                        "forest": forest if size < PAGE_CELLS else None,
                        "heads": heads,
                    }
                )
    quality = {
        run.task.slug: (run.task, run.data["quality"]) for run in tables.runs if run.model is model
    }
    runs = [run for run in tables.runs if run.model is model]
    return Page(
        f"models/{model.slug}.html",
        "model.html",
        {
            "model": model,
            "examples": [e for e in examples if e.bundle["model"] == model.name],
            "sections": sections,
            "qualities": [quality[slug] for slug in sorted(quality)],
            "card": card[1] if (card := registry.checkpoint(model.name)) else None,
            "padding": next(
                (
                    r.data.get("padding_mass")
                    for r in runs
                    if r.data.get("padding_mass") is not None
                ),
                None,
            ),
        },
    )


def _heads_table(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of layers by heads with the means along its edges."""
    values = found["values"]
    known = [v for v in values.values() if v is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    layers, heads = range(found["layers"]), range(found["heads"])

    def mean(where: Sequence[tuple[int, int]]) -> float | None:
        kept = [values[w] for w in where if values.get(w) is not None]
        return sum(kept) / len(kept) if kept else None

    best = found["best"]
    floor = next((row.floor for row in found["rows"].values() if row.floor is not None), None)
    return {
        "heads": list(heads),
        "low": low,
        "high": high,
        "floor": floor,
        "floor_at": None
        if floor is None or high <= low
        else min(max(100 * (floor - low) / (high - low), 0), 100),
        "best": best,
        "best_row": found["rows"][best] if best else None,
        "lines": [
            {
                "layer": layer,
                "mean": mean([(layer, head) for head in heads]),
                "cells": [
                    {
                        "value": values.get((layer, head)),
                        "level": charts.level(values.get((layer, head)), low, high),
                        "best": (layer, head) == best,
                        "row": found["rows"].get((layer, head)),
                    }
                    for head in heads
                ],
            }
            for layer in layers
        ],
        "means": [mean([(layer, head) for layer in layers]) for head in heads],
    }


def _method(tables: Tables, method: Any, shown: Sequence[tuple[str, str | None]]) -> Page:
    forests = []
    budget = 150
    configs = sorted(method.configs, key=lambda c: (c.head is not None, c.label))
    for config in configs:
        for key in shown:
            rows = [
                row
                for b in tables.select(metric=key[0], reference=key[1])
                for row in b.rows
                if row.config is config and row.rank_reason != "superseded"
            ]
            if rows and config.head is None and len(rows) <= budget:
                budget -= len(rows)
                forests.append((config, tables.metrics[key[0]], key[1], forest_of_cells(rows)))
    runs = [run for run in tables.runs if run.config.method == method.name]
    return Page(
        f"methods/{method.slug}.html",
        "method.html",
        {
            "method": method,
            "formula": formula(method.description),
            "forests": forests,
            "runs": len(runs),
            "failures": _failures(runs),
            "command": _command(runs),
        },
    )


def _failures(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return why scores of these runs are missing, and how often, most often first."""
    found: Counter[tuple[str, str, str]] = Counter()
    for run in runs:
        if run.data["status"] in ("unsupported", "failed"):
            found[run.model.title, run.data["status"], run.data["reason"] or "not recorded"] += 1
        for failure in run.data["failures"]:
            found[run.model.title, "utterance failed", failure["reason"]] += 1
        for score in run.data["scores"]:
            for reason, count in score["undefined"].items():
                found[run.model.title, f"no {score['metric']}", reason] += count
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"model": m, "what": what, "reason": why, "count": n} for (m, what, why), n in ordered[:60]
    ]


def _command(runs: Sequence[Run]) -> str:
    """Return a command that makes one of these rows again."""
    run = min(runs, key=lambda r: (r.model.title, r.task.title, r.config.label))
    params = ",".join(f"{k}={v}" for k, v in run.data["method"]["params"].items())
    call = f"{run.config.method}:{params}" if params else run.config.method
    quoted = f"'{call}'" if any(c in call for c in '*;&|<>()$`\\" ') else call
    return f"xbench eval --model {run.model.name} --task {run.task.name} --method {quoted}"


def _heads(tables: Tables) -> Page:
    charts_ = []
    for model in tables.models:
        for task in tables.tasks:
            found = data.heads_of(tables, model, task, *task.headline)
            if found is not None:
                charts_.append((model, task, found))
    known = [v for _, _, f in charts_ for v in f["values"].values() if v is not None]
    limits = (min(known), max(known)) if known else (0.0, 1.0)
    small = []
    cells = 0
    for model, task, found in charts_[:PAGE_MAPS]:
        cells += found["layers"] * found["heads"]
        best = found["best"]
        row = found["rows"][best] if best else None
        said = (
            f"best: layer {best[0]}, head {best[1]}, {charts.number(row.value, 3)}"
            if row
            else "no head has a score"
        )
        title = f"{model.title}, {task.title}"
        svg = charts.heads_chart(
            found["values"], found["layers"], found["heads"], limits, title, said, best
        )
        small.append(
            {
                "model": model,
                "task": task,
                "svg": svg if cells < 1600 else None,
                "said": said,
                "row": row,
                "layers": found["layers"],
                "heads": found["heads"],
            }
        )
    return Page(
        "heads.html",
        "heads.html",
        {"small": small, "limits": limits, "beyond": max(0, len(charts_) - PAGE_MAPS)},
    )


# -- examples, results, runs, about ----------------------------------------------------------------


def _example(tables: Tables, example: Example) -> dict[str, Any]:
    """Return an example with the tasks and models that carry its names: variants share one."""
    return {
        "example": example,
        "bundle": example.bundle,
        "tasks": [t for t in tables.tasks if t.name == example.bundle["task"]],
        "models": [m for m in tables.models if m.name == example.bundle["model"]],
    }


def _results(tables: Tables) -> Page:
    statuses = sorted({run.data["status"] for run in tables.runs})
    return Page(
        "results.html",
        "results.html",
        {
            "rows": tables.rows[:FIRST_ROWS],
            "total": len(tables.rows),
            "tables": tables,
            "references": sorted({row.reference for row in tables.rows if row.reference}),
            "families": sorted({c.family for c in tables.configs}),
            "statuses": statuses,
        },
    )


def _submission(tables: Tables, submission: Any) -> dict[str, Any]:
    first = submission.runs[0].data
    return {
        "submission": submission,
        "task": submission.task,
        "model": submission.model,
        "provenance": first["provenance"],
        "references": _references(submission.runs),
        "quality": first["quality"],
        "runs": sorted(submission.runs, key=lambda run: (run.config.label, run.id)),
        "gates": [(run, gate) for run in submission.runs for gate in run.gates],
        "failures": _failures(submission.runs),
    }


def _about(tables: Tables, refused: Sequence[Any]) -> dict[str, Any]:
    return {
        "metrics": registry.metrics.descriptions(),
        "unknown": [m for m in tables.metrics.values() if m.description is None],
        "references": registry.references.descriptions(),
        "controls": [d for d in registry.methods.descriptions() if d.kind == "control"],
        "refused": refused,
    }
