"""The parts of docs/findings.md on word times and on listening: from results, and from files under leaderboard/."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from real_clips import JOINED
from xbench.registry import metrics
from xbench.stats import Estimate
from xbench.stats.ranking import rank_agreement

if TYPE_CHECKING:
    from findings_runs import Run
    from xbench.results.records import ScoreRecord

FOLDER = Path(__file__).resolve().parents[1] / "leaderboard"
WORD_TIMES, LISTENING = FOLDER / "word-times.json", FOLDER / "listening.json"
WORD_STARTS = "onset-error"
BEST = 6
# Shown wherever they stand: Whisper's rule, other ways made for timing, and what people average.
TIMING = (
    *("whisper-timing", "dtw-path", "viterbi-path", "norm-chosen-heads"),
    *("alignment-heads", "sinks-dropped", "mean-heads", "diagonal"),
)
TOLD = "word-window"  # a control that is told the word times
CONSTRUCTIONS = ("no-speech", "spliced", "looped", "foreign")
# Read for the consistency of their rows, not one by one.
SINGLE_HEAD = "raw-attention"

LISTENING_WORDS = """## Does the model listen?

Clips of which it is known what can be heard: speech as it is, noise with its spectrum, two speakers with such noise
between them (spliced), a clip twice (looped), and other languages given as English (foreign). Detectors are to find
the tokens that hiding audio changes least (a causal measure), and those whose word cannot be heard (made up).
AUROC is 0.5 and PR-AUC the share of such tokens for a detector that knows nothing; in brackets 95 % intervals over
speakers. [decisions.md](decisions.md#does-the-model-listen) says what the detectors are;
`scripts/real_listening.py` makes the file of this section."""


def timing(runs: Sequence[Run]) -> list[str]:
    """Put agreement beside word starts: of joined words, whose times are exact, and of natural speech."""
    lines: list[str] = []
    for run in runs:
        joined = [clip.startswith(JOINED) for clip in run.any.utterances["id"]]
        labels = [
            label
            for label in run.judged()
            if any(
                s.metric == WORD_STARTS and s.value is not None for s in run.results[label].scores
            )
        ]
        if not labels:
            continue
        starts = {label: run.column(label, WORD_STARTS) for label in labels}
        rows = []
        for label in labels:
            late, own = (run.results[label].score(metric) for metric in (WORD_STARTS, "pearson"))
            parts = [mean_where(starts[label], joined, part) for part in (True, False)]
            cells = [scored(late), *parts, scored(own)]
            rows.append((late.value, f"| `{label}` | {' | '.join(cells)} |"))
        late = run.results[labels[0]].score(WORD_STARTS)
        tau = rank_agreement(
            [run.column(label, "pearson") for label in labels],
            [[None if v is None else -v for v in starts[label]] for label in labels],
            run.clusters,
            seed=0,
        )
        lines += [
            f"{run.name}, {late.n} clips of {late.n_clusters} speakers; the eight that time words best:",
            "",
            "| method | onset error in s | joined words | natural speech | agreement per token |",
            "|" + "---|" * 5,
            *(line for _, line in sorted(rows)[:8]),
            "",
            f"Over {len(labels)} methods, Kendall's tau of agreement with exactness of onsets is {of(asdict(tau))}.",
            "",
        ]
    return lines


def mean_where(values: Sequence[float | None], marked: Sequence[bool], mark: bool) -> str:
    """Write the mean over the clips with this mark."""
    known = [v for v, own in zip(values, marked, strict=True) if own is mark and v is not None]
    return f"{sum(known) / len(known):.2f}" if known else "–"


def scored(score: ScoreRecord) -> str:
    """Write the score of a result with its interval, cut to the metric's range."""
    ends = score.ci or (None, None)
    found = Estimate(score.value, *ends, score.n, score.n_clusters)
    return of(asdict(found.cut_to(*metrics.get(score.metric).range)))


def word_times(file: Path = WORD_TIMES) -> list[str]:
    """Write a table per run: errors in ms, their sign, shares within bounds, and F1 of boundaries."""
    lines = []
    for run in json.loads(file.read_text("utf-8"))["runs"]:
        lines += [f"### {run['model']}, {run['clips'].removeprefix('real-speech-')}", ""]
        lines += [
            f"{run['words']} words in {run['n']} clips of {run['speakers']} speakers, "
            f"{100 * run['covered']:.0f} % of them in the hypotheses, which hold {run['inserted']} others (`3` stands "
            "for `three`). The best single head was chosen on these very clips. Errors of "
            f"onsets and ends in ms; F1 of boundaries at most {1000 * run['tolerance']:.0f} ms off:",
            "",
            "| method | onset | bias | median | within 50 | within 100 | end | F1 |",
            "|" + "---|" * 8,
        ]
        for row in shown(run["rows"]):
            within = row["within"]
            cells = [
                *(ms(row["onset"]), ms(row["onset_bias"])),
                f"{1000 * row['onset_quantiles']['0.5']:.0f}",
                *(f"{100 * within[bound]['value']:.0f} %" for bound in ("0.05", "0.1")),
                *(ms(row["end"]), of(row["f1"])),
            ]
            lines.append(f"| `{row['method']}` | {' | '.join(cells)} |")
        lines += ["", *by_language(run)]
    return lines


def by_language(run: Mapping[str, Any]) -> list[str]:
    """Write a row per language: how much speech there is, and onset errors of the methods that are always shown."""
    if not run["languages"]:
        return []
    first = run["languages"][0]["onset"]
    named = [m for start in TIMING for m in first if m.partition(":")[0] == start]
    names = [method.partition(":")[0] for method in named]
    titles = zip(names, named, strict=True)
    lines = [
        "Mean onset error in ms by language; of so few speakers there is no interval, so this says what happened on "
        "these clips and nothing of a language:",
        "",
        "| language | clips | speakers | words | in the hypotheses | "
        + " | ".join(f"`{name if names.count(name) == 1 else method}`" for name, method in titles)
        + " |",
        "|" + "---|" * (5 + len(named)),
    ]
    for part in run["languages"]:
        cells = [
            *(part["language"], str(part["n"]), str(part["speakers"]), str(part["words"])),
            f"{100 * part['covered']:.0f} %",
            *(ms(part["onset"][method]) for method in named),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def shown(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows of the best methods, of the best single head, and of those in TIMING, best first."""
    rows = [row for row in rows if row["method"] != TOLD]
    heads = [row for row in rows if "head=" in row["method"]]
    others = [row for row in rows if "head=" not in row["method"]]
    names = {row["method"] for row in (*others[:BEST], *heads[:1])}
    return [r for r in rows if r["method"] in names or r["method"].partition(":")[0] in TIMING]


def listening(file: Path = LISTENING) -> list[str]:
    """Write what the run was, and a row per detector."""
    told = json.loads(file.read_text("utf-8"))
    made = ", ".join(f"{count} {kind}" for kind, count in sorted(told["made"].items()))
    invented = ", ".join(f"{k} {100 * share:.0f} %" for k, share in told["made_up"].items())
    lines = [
        f"{told['model']}: {told['tokens']} tokens of {told['clips']} clips (made: {made}); reference of "
        f"{told['masks']} masks a clip, whose means per token are reliable to {told['reliability']:.2f}. Least effect: "
        f"the lowest {100 * told['lowest']:.0f} % of the tokens. Made up are, of the tokens of words: {invented}.",
        "",
        "| detector | least effect: AUROC | PR-AUC | made up: AUROC | PR-AUC | "
        + " | ".join(f"AUROC, {kind}" for kind in CONSTRUCTIONS)
        + " |",
        "|" + "---|" * (5 + len(CONSTRUCTIONS)),
    ]
    for row in told["rows"]:
        if row["method"] is not None and row["method"].startswith(SINGLE_HEAD):
            continue
        name = f"`{row['name']}`" + (f" of `{row['method']}`" if row["method"] else "")
        areas = [
            "–" if row[truth] is None else of(row[truth][area])
            for truth in ("effect", "construction")
            for area in ("auroc", "pr_auc")
        ]
        apart = [
            of(row["of"][kind]["auroc"], interval=False) if kind in row["of"] else "–"
            for kind in CONSTRUCTIONS
        ]
        lines.append(f"| {name} | {' | '.join([*areas, *apart])} |")
    left_out = [f"Left out: {reason}." for reason in told["absent"]]
    return [*lines, "", *left_out, *([""] if left_out else [])]


def of(estimate: Mapping[str, Any], *, interval: bool = True) -> str:
    """Write a share with its interval."""
    if estimate["value"] is None:
        return "–"
    known = interval and estimate["low"] is not None
    ends = f" [{estimate['low']:.2f}, {estimate['high']:.2f}]" if known else ""
    return f"{estimate['value']:.2f}{ends}"


def ms(estimate: Mapping[str, Any]) -> str:
    """Write seconds in milliseconds, with their interval."""
    if estimate["value"] is None:
        return "–"
    low, high = estimate["low"], estimate["high"]
    ends = "" if low is None else f" [{1000 * low:.0f}, {1000 * high:.0f}]"
    return f"{1000 * estimate['value']:.0f}{ends}"
