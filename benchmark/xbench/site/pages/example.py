"""The gallery of exported utterances, and a page for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from xbench.site.examples import Example
from xbench.site.pages.page import Page
from xbench.site.speech import speech_of
from xbench.site.tables.entries import ListedRun, Model, Task
from xbench.site.tables.tabulate import Tables
from xbench.site.thumbnail import thumbnail


@dataclass(frozen=True)
class Glance:
    """An example in short: a small picture of the method that does best on it, with the value of its first score.

    worst: the method of the example with the worst value of that score, and the value; None where it has one method.
    share: of the other clips, how many are harder, as a mean over the methods of the example; None where not known.
    """

    example: Example
    method: str
    picture: str | None
    score: str | None
    value: float | None
    worst: tuple[str, float] | None
    share: float | None = None


@dataclass(frozen=True)
class Failing:
    """The example on which a method does worst: by score, better than on so many of the other clips."""

    example: Example
    score: str
    beaten: int
    others: int


@dataclass(frozen=True)
class ExamplesPage(Page):
    """`examples/index.html`, clips that people are known to have spoken first."""

    template = "examples.html"

    examples: list[Glance]


@dataclass(frozen=True)
class ExamplePage(Page):
    """`examples/<utterance>.html`; tasks and models: those with a result on this very clip.

    before, after: the neighbours in the gallery.
    """

    template = "example.html"

    example: Example
    bundle: Mapping[str, Any]
    tasks: list[Task]
    models: list[Model]
    before: Example | None
    after: Example | None


def example_pages(tables: Tables, examples: Sequence[Example]) -> Iterator[Page]:
    """Yield the gallery and the page of each example."""
    ordered = recorded_first(tables, examples)
    yield ExamplesPage("examples/index.html", [glance(tables, example) for example in ordered])
    for place, example in enumerate(ordered):
        runs = runs_of(tables, example)
        yield ExamplePage(
            path=f"examples/{example.id}.html",
            example=example,
            bundle=example.bundle,
            tasks=[t for t in tables.tasks if t.slug in {run.task.slug for run in runs}],
            models=[m for m in tables.models if m.slug in {run.model.slug for run in runs}],
            before=ordered[place - 1] if place else None,
            after=next(iter(ordered[place + 1 :]), None),
        )


def runs_of(tables: Tables, example: Example) -> list[ListedRun]:
    """Return the runs of the example's model on a task of its name that have its clip: other clips are another task."""
    of = example.bundle
    return [
        run
        for run in tables.runs
        if (run.task.name, run.model.name) == (of["task"], of["model"])
        and of["utterance"] in run.data["utterances"].get("id", ())
    ]


def recorded_first(tables: Tables, examples: Sequence[Example]) -> list[Example]:
    """Return the examples, those first of which it is known that people spoke them, and of these with most heads."""
    recorded = {task.name for task in tables.tasks if speech_of(task) == "recorded"}
    return sorted(
        examples,
        key=lambda e: (e.bundle["task"] not in recorded, -len(e.bundle.get("heads", ()))),
    )


def glance(tables: Tables, example: Example) -> Glance:
    """Return an example in short."""
    maps = example.bundle["maps"]
    methods = [m for m in maps if m["kind"] == "method"]
    score = next((n for m in methods for n, v in m["scores"].items() if v is not None), None)
    if score is None:
        entry = next(iter(methods or maps))
        return Glance(example, entry["label"], thumbnail(entry), None, None, None)
    metric = tables.metrics.get(score.partition("@")[0])
    sign = 1 if metric is None or metric.higher else -1
    by_score = sorted(
        (m for m in methods if m["scores"].get(score) is not None),
        key=lambda m: (-sign * m["scores"][score], m["label"]),
    )
    best, last = by_score[0], by_score[-1]
    worst = (last["label"], last["scores"][score]) if len(by_score) > 1 else None
    beaten = [than for m in methods if (than := example.better.get(m["id"], {}).get(score))]
    share = fmean(fewer / others for fewer, others in beaten) if beaten else None
    value = best["scores"][score]
    return Glance(example, best["label"], thumbnail(best), score, value, worst, share)


def failing(
    tables: Tables, examples: Sequence[Example], wanted: str | None = None
) -> dict[tuple[str | None, str], Failing]:
    """Return where each method fails, by model and its label, and over all models under None.

    wanted: the score that says so, as `metric@reference`; None for the first that a map has. Over all models clips that
    people are known to have spoken come first. A method that does better on all its examples than on half of the other
    clips is left out.
    """
    found: dict[tuple[str | None, str], Failing] = {}
    for example in recorded_first(tables, examples):
        model = example.bundle["model"]
        for entry in example.bundle["maps"]:
            known_scores = [n for n, v in entry["scores"].items() if v is not None]
            score = next((n for n in known_scores if wanted in (None, n)), None)
            than = example.better.get(entry["id"], {}).get(score) if score else None
            if score is None or than is None or 2 * than[0] >= than[1]:
                continue
            here = Failing(example, score, *than)
            for key in ((model, entry["label"]), (None, entry["label"])):
                known = found.get(key)
                other = known is not None and known.example.bundle["model"] != model
                if known is None or (
                    not other and here.beaten * known.others < known.beaten * here.others
                ):
                    found[key] = here
    return found


def hardest(glances: Iterable[Glance]) -> Glance | None:
    """Return the example with the fewest harder clips; None where none is in the harder half."""
    low = [(g.share, g.example.id, g) for g in glances if g.share is not None and g.share < 0.5]
    return min(low, key=lambda one: one[:2])[2] if low else None
