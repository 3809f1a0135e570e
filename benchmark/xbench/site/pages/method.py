"""The page of a method: what it computes, and its scores over tasks and models."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xbench import registry
from xbench.site.formulas import Formula, formula
from xbench.site.overall import Overall, times_key
from xbench.site.pages.failures import Failure, failures
from xbench.site.pages.forests import Forest, forest_of_cells
from xbench.site.pages.page import Page
from xbench.site.pages.purposes import Answer
from xbench.site.shared import Shared, shared
from xbench.site.tables.entries import Config, ListedMethod, ListedRun, Metric, ScoreKey
from xbench.site.tables.tabulate import Tables

PAGE_ROWS = 150  # of all forest plots of a method's page


@dataclass(frozen=True)
class First:
    """The settings with which a page of several begins, and why: what the first page recommends them for, else the
    metric by which their mean is the best."""

    config: Config
    purposes: tuple[str, ...]
    metric: str | None


@dataclass(frozen=True)
class MethodPage(Page):
    """`methods/<method>.html`; runs: how many results; command: how to make one of them again.

    first: None where there is nothing to choose between.
    badge: what its badge says. families, maps: what results say of its family and of its maps. authorship: authors,
    code, paper and licence, as the registry knows them, else as results state them.
    """

    template = "method.html"

    method: ListedMethod
    badge: str
    first: First | None
    formula: Formula | None
    forests: list[tuple[Config, Metric, str | None, Forest]]
    families: Shared[str]
    maps: Shared[str]
    authorship: list[tuple[str, Shared[str]]]
    runs: int
    failures: tuple[Failure, ...]
    command: str


def method_page(
    tables: Tables,
    method: ListedMethod,
    standings: Sequence[Overall],
    answers: Sequence[Answer],
    badge: str,
) -> MethodPage:
    """Return the page of a method; standings: on the headline of each family of scores.

    answers: those of the first page. badge: what its badge says. Beside the headlines it shows word times, and begins
    with them where the first page recommends it for these.
    """
    runs = [run for run in tables.runs if run.config.method == method.name]
    shown: list[ScoreKey] = [(table.metric, table.reference) for table in standings]
    times = times_key(tables, shown[0]) if shown else None
    if times:
        advised = {a.purpose for a in answers if a.top.config.method == method.name}
        others = [key for key in shown if key != times]
        shown = [times, *others] if "word times" in advised else [*others, times]
    first = _first(method, standings, answers)
    configs = sorted(
        (c for c in method.configs if c.head is None),
        key=lambda c: (first is None or c is not first.config, c.label),
    )
    return MethodPage(
        path=f"methods/{method.slug}.html",
        method=method,
        badge=badge,
        first=first,
        formula=formula(method.description),
        forests=_forests(tables, configs, shown),
        families=shared(run.data["method"]["kind"] for run in runs),
        maps=shared(_map(run.data["method"]) for run in runs),
        authorship=_authorship(method, runs),
        runs=len(runs),
        failures=failures(runs),
        command=_command([run for run in runs if first and run.config is first.config] or runs),
    )


def _first(
    method: ListedMethod, standings: Sequence[Overall], answers: Sequence[Answer]
) -> First | None:
    """Return the settings that the first page recommends, else those with the best mean on a score of several."""
    if sum(c.head is None for c in method.configs) < 2:
        return None
    advised = [a for a in answers if a.top.config.method == method.name]
    if advised:
        config = advised[0].top.config
        return First(config, tuple(a.purpose for a in advised if a.top.config is config), None)
    for table in standings:
        mine = [s.config for s in table.standings if s.config.method == method.name]
        if len(mine) > 1:
            return First(mine[0], (), table.metric)
    return None


def _forests(
    tables: Tables, configs: Sequence[Config], shown: Sequence[ScoreKey]
) -> list[tuple[Config, Metric, str | None, Forest]]:
    forests = []
    room = PAGE_ROWS
    for config in configs:
        for metric, reference in shown:
            rows = [
                row
                for b in tables.select(metric=metric, reference=reference)
                for row in b.rows
                if row.config is config and row.rank_reason != "superseded"
            ]
            if rows and len(rows) <= room:
                room -= len(rows)
                forests.append((config, tables.metrics[metric], reference, forest_of_cells(rows)))
    return forests


def _map(method: Mapping[str, Any]) -> str:
    """Word what a result says of the maps of its method."""
    said = {
        "signed": method["signed"],
        "rows sum to one": method["distribution"],
        "needs gradients": method["uses_gradients"],
    }
    space = "on encoder frames" if method["space"] == "encoder" else "on the spectrogram"
    return ", ".join([space, *(words for words, true in said.items() if true)])


def _authorship(method: ListedMethod, runs: Sequence[ListedRun]) -> list[tuple[str, Shared[str]]]:
    """Return who made a method, by what is said of it; a registered method speaks for itself."""
    if method.description is not None:
        entry = registry.methods.entry(method.name)
        said = [asdict(registry.authorship(method.description, entry.distribution))]
    else:
        said = [run.data["method"].get("authorship") or {} for run in runs]
    names = {"authors": "Authors", "code": "Code", "paper": "Paper", "licence": "Licence"}
    return [
        (label, shared(each[name] for each in said if each.get(name)))
        for name, label in names.items()
    ]


def _command(runs: Sequence[ListedRun]) -> str:
    """Return a command that makes one of these rows again, if possible one that anybody can make, with scores.

    What others lack stands in it in capitals: the folder of the model, the list of the clips.
    """

    def order(run: ListedRun) -> tuple[Any, ...]:
        names = run.model.title, run.task.title, run.config.label
        return not run.data["scores"], bool(run.local), *names

    run = min(runs, key=order)
    facts = run.data["task"]
    params = ",".join(f"{k}={v}" for k, v in run.data["method"]["params"].items())
    call = f"{run.config.method}:{params}" if params else run.config.method
    family = run.model.name.partition(":")[0]
    of_folder = run.data["model"]["source"] == "local" and family != run.model.name
    model = f"{family}:FOLDER" if of_folder else run.model.name
    known = facts["dataset"]["name"] in registry.datasets.names()
    words = [
        *("xbench", "eval", "--model", model, "--task", run.task.name),
        *([] if known else ["--data", "CLIPS.jsonl"]),
        *([] if facts["preset"] == "fast" else ["--preset", facts["preset"]]),
        *("--method", call),
    ]
    return shlex.join(words)
