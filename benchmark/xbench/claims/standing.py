"""May a result be ranked beside those of others? What keeps it from that, in three classes.

    incomplete: it has no score over all clips of its task
    local: others cannot make it again, because clips, model, method, reference or task are on one machine only
    outdated: it is of another version than what is here

Extra metrics keep no result from being ranked: they are no part of what the task ranks by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from xbench import registry
from xbench.claims.findings import Findings
from xbench.claims.here import task_here
from xbench.results import RunResult
from xbench.spec import LOCAL, Headline, TaskSpec


@dataclass(frozen=True)
class Obstacle:
    """One reason why a result is not ranked: its class, the place in the file, what is there, and the rule."""

    kind: Literal["incomplete", "local", "outdated"]
    place: str
    what: str
    rule: str

    def __str__(self) -> str:
        said = f"{self.what}; {self.rule}"
        return f"{self.place}: {said}" if self.place else said


def obstacles(result: RunResult, findings: Findings) -> list[Obstacle]:
    """Return why a result without a false claim is not ranked; empty for one that is."""
    task, headline = task_here(result.task.name, result.task.preset), result.task.headline
    found = []
    if result.status != "complete":
        what, rule = f"{result.status} ({result.reason})", "only complete runs are ranked"
        found.append(Obstacle("incomplete", "status", what, rule))
    found += local_obstacles(
        unregistered(result.provenance.plugins, headline["metric"]),
        result.task.dataset.name,
        task is not None,
        (result.model.name, result.model.source),
    )
    again = "it would be compared with other results: evaluate again"
    found += [Obstacle("outdated", "", line, again) for line in findings.outdated]
    if task is not None:
        found += headline_obstacles(Headline(**headline), task)
    scored = {(score.metric, score.reference) for score in result.scores}
    if scored and (headline["metric"], headline["reference"]) not in scored:
        what, rule = "there is none of the headline", "the task ranks by it"
        found.append(Obstacle("incomplete", "scores", what, rule))
    return found


def unregistered(plugins: Iterable[Mapping[str, str]], headline: str) -> str | None:
    """Say what no package registers of the plugins that a run used; a metric counts only as the headline."""
    own = [
        f"{plugin['kind']} '{plugin['name']}'"
        for plugin in plugins
        if plugin["distribution"] == LOCAL
        and (plugin["kind"] != "metric" or plugin["name"] == headline)
    ]
    return " and ".join(own) or None


def local_obstacles(
    own: str | None, dataset: str, task_known: bool, model: tuple[str, str]
) -> Iterator[Obstacle]:
    """Yield what others do not have.

    own: what no package registers. task_known: a registered folder has the task. model: name and source, as results
    state them.
    """
    if own:
        rule = "only what others can run is ranked (`xbench new` makes a package)"
        yield Obstacle("local", "provenance.plugins", f"{own} is in no package", rule)
    if dataset not in registry.datasets.names():
        what, rule = "clips given with --data", "only registered datasets are ranked"
        yield Obstacle("local", "task.dataset", what, rule)
    elif not task_known:
        what, rule = "no task of this name and preset is here", "only registered tasks are ranked"
        yield Obstacle("local", "task.name", what, rule)
    name, source = model
    if source == "local" and registry.checkpoint(name) is None:
        what, rule = "a model in a local folder", "only models that others can load are ranked"
        yield Obstacle("local", "model.source", what, rule)


def headline_obstacles(headline: Headline, task: TaskSpec) -> Iterator[Obstacle]:
    """Yield where a run is ranked by another score than its task."""
    if headline != task.headline:
        what, rule = f"ranked by {_name(headline)}", f"the task ranks by {_name(task.headline)}"
        yield Obstacle("incomplete", "task.headline", what, rule)


def _name(headline: Headline) -> str:
    return f"{headline.metric}@{headline.reference}"
