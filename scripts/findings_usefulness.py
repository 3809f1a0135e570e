"""The part of docs/findings.md on whether scores foresee uses, from leaderboard/usefulness.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "leaderboard" / "usefulness.json"
SHOWN = ("pearson", "pearson-paper", "sensitivity-n")
USES = {
    "word-times": "word times",
    "regret": "regret",
    "delay": "delay at equal regret",
    "detection": "detection",
}

WORDS = """## Usefulness

Does a map that is more faithful also serve better? Kendall's tau between the order by a score and the order by a
use, both turned so that higher is better: over methods, over single heads, over layers, over clips within each method,
and over models ([decisions.md](decisions.md) says what each use is; `xbench decisions usefulness` computes it from the
store of the runs). In brackets the 95 % interval over speakers (over models where models are ordered); where there is
none, too few speakers have word times. Runs of the task `word-times` are of the clips with word times alone. Only word
times are independent of the reference: *regret* (a token written before its audio was heard), *delay* (how long one
has to wait for as little regret) and *detection* (finding tokens that need no audio) ask the same reference as
`pearson`. A tau counts the clips on which every method has a score; where these are few of the run's, their number
stands behind it."""
MODELS = "all models"


def usefulness(file: Path = FILE) -> list[str]:
    """Write a table per model, a row per judge and what is ordered."""
    told = json.loads(file.read_text("utf-8"))
    lines = []
    for name in dict.fromkeys(map(run_of, told["rows"])):
        own = [row for row in told["rows"] if run_of(row) == name and judge(row) in SHOWN]
        clips_of_run = max(row["tau"]["n"] for row in own)
        model, task, data = name
        clips = f" ({data.removeprefix('real-speech-')})" if data else ""
        lines += [
            f"### {model}, {task}{clips}",
            "",
            f"| score | over | {' | '.join(USES.values())} |",
        ]
        lines.append("|" + "---|" * (2 + len(USES)))
        for name, over in dict.fromkeys((judge(row), row["over"]) for row in own):
            of = {r["use"]: r for r in own if (judge(r), r["over"]) == (name, over)}
            units = max(row["units"] for row in of.values())
            cells = [cell(of[use]["tau"], clips_of_run) if use in of else "–" for use in USES]
            lines.append(f"| `{name}` | {units} {over} | {' | '.join(cells)} |")
        lines += ["", of_models(own, told["models"]) if model == MODELS else in_short(own), ""]
    return lines


def run_of(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the model, the task and the clips of a correlation."""
    return row["model"], row["task"], row["data"]


def in_short(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say between what the correlations of the first judge lie, over heads and over methods."""
    parts = []
    for over in ("heads", "methods"):
        taus = [r["tau"]["value"] for r in rows if (judge(r), r["over"]) == (SHOWN[0], over)]
        known = [tau for tau in taus if tau is not None]
        if known:
            parts.append(f"over {over} between {min(known):.2f} and {max(known):.2f}")
    return f"In short: tau of `{SHOWN[0]}` with these uses lies {', '.join(parts)}."


def of_models(rows: Sequence[Mapping[str, Any]], models: Sequence[str]) -> str:
    """Say what an order of so few models is worth."""
    n = max(row["units"] for row in rows)
    told = (
        f"Each model ({', '.join(f'`{name}`' for name in models)}) is a mean over the methods that all {n} share, on "
        "the clips that it was run on. Clips differ, and so do sizes and training: this says whether a model whose "
        "maps are more faithful also has more useful ones, not why."
    )
    if any(row["tau"]["low"] is None for row in rows):
        return f"{told} Of {n} models there is no interval: others may turn the order round."
    sure = sum(not row["tau"]["low"] <= 0 <= row["tau"]["high"] for row in rows)
    return (
        f"{told} The intervals are by the jackknife over models, and {sure} of {len(rows)} leave out 0. {n} models are "
        "few, and three of them are tiny: two heard synthetic speech of one grammar, with exact word times, one heard "
        "single words, joined; only the two of OpenAI heard natural speech. So an order over models is that of these, "
        "no law."
    )


def judge(row: Mapping[str, Any]) -> str:
    """Return the metric of a judge without its reference."""
    return str(row["judge"]).partition("@")[0]


def cell(tau: Mapping[str, Any], clips: int) -> str:
    """Write a correlation with its interval, or why there is none; and its clips where these are few of the run's."""
    if tau["value"] is None:
        return f"– ({tau['reason'].replace('-', ' ')})"
    ends = "" if tau["low"] is None else f" [{tau['low']:.2f}, {tau['high']:.2f}]"
    few = f" ({tau['n']} clip{'s' if tau['n'] != 1 else ''})" if 2 * tau["n"] <= clips else ""
    return f"{tau['value']:.2f}{ends}{few}"
