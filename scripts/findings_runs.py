"""What docs/findings.md is made of: the results of one model on one set of clips, and how tables are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from real_clips import LANGUAGES
from xbench.results import RunResult, column_name, short_labels
from xbench.stats.comparison import Comparison, compare

SECOND_ESTIMATES = {"spes", "spes-encoder"}
CLIPS = {f"real-speech-{track}" for track in LANGUAGES}


@dataclass(frozen=True)
class Run:
    """The results of one model on one set of clips, by label; single heads apart."""

    model: str
    clips: str
    results: Mapping[str, RunResult]

    @property
    def any(self) -> RunResult:
        """A result of the run, for what all of them share."""
        return next(iter(self.results.values()))

    @property
    def name(self) -> str:
        """The run as tables call it."""
        return ", ".join(filter(None, (self.model, self.clips.removeprefix("real-speech-"))))

    @property
    def clusters(self) -> list[str]:
        """The speaker of every clip."""
        return self.any.utterances["cluster"]

    def column(self, label: str, metric: str, reference: str | None = None) -> list[float | None]:
        """Return the values of a method per utterance, against the encoder reference or this one."""
        reference = self.results[label].score(metric, reference).reference
        name = metric if reference is None else f"{metric}@{reference}"
        return self.results[label].utterances[name]

    def by_effect(self, label: str) -> list[float | None] | None:
        """Return what a method scores per utterance with tokens weighted by their effect; None in older results."""
        reference = self.results[label].score("pearson").reference
        return self.results[label].utterances.get(f"weighted:{column_name('pearson', reference)}")

    def judged(self, *, tried: bool = False) -> list[str]:
        """Return the methods that are judged: no controls, single heads, or what learned from the test clips.

        tried: also those that try the model out with parts hidden, as the reference does.
        """
        return [
            label
            for label, result in self.results.items()
            if result.method.kind != "control"
            and (tried or result.method.kind != "perturbation")
            and result.method.name not in SECOND_ESTIMATES
            and "head" not in result.method.params
            and not (result.method.fitted and result.method.fitted.split == "oracle")
        ]

    def compared(self, metric: str, labels: Sequence[str]) -> Comparison:
        """Compare methods on the run's clips."""
        score = self.results[labels[0]].score(metric)
        return compare(
            labels,
            [self.column(label, metric) for label in labels],
            self.clusters,
            higher_is_better=score.direction == "higher",
            seed=0,
        )


def runs_of(results: Iterable[RunResult]) -> list[Run]:
    """Group results into runs, models and clips sorted by name."""
    groups: dict[tuple[str, str], list[RunResult]] = {}
    for result in results:
        scored = result.status in ("complete", "partial")
        if scored and result.task.dataset.name in CLIPS:
            groups.setdefault((result.model.name, result.task.dataset.name), []).append(result)
    return [
        Run(*key, dict(zip(short_labels([r.method for r in own]), own, strict=True)))
        for key, own in sorted(groups.items())
    ]


def interval(value: float | None, ci: Sequence[float] | None, digits: int = 2) -> str:
    """Write a number with its interval."""
    if value is None:
        return "–"
    shown = f"{value:.{digits}f}"
    return shown if ci is None else f"{shown} [{ci[0]:.{digits}f}, {ci[1]:.{digits}f}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write a Markdown table."""
    return [
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
