"""The part of docs/findings.md on languages: what every language's clips say, beside one another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from findings_runs import Run, table

CLIPS = Path(__file__).resolve().parents[1] / "packs" / "clips"
SHOWN = ("value-norm-resln", "chefer", "alignment-heads", "mean-heads", "diagonal")

WORDS = """## Languages

Agreement per token by the language that is spoken, as means over so few clips that none has an interval: the table
says whether a language turns the order over, not by how much one differs from another."""


def by_language(runs: Sequence[Run], folder: Path = CLIPS) -> list[str]:
    """Write a table per run of several languages: a row each, with its clips and the mean score of some methods."""
    lines: list[str] = []
    for run in runs:
        if len(set(run.any.task.source_language)) < 2:
            continue
        spoken = _languages(folder / f"{run.clips.removeprefix('real-speech-')}.jsonl")
        of_clip = [spoken[clip] for clip in run.any.utterances["id"]]
        labels = [
            next(label for label, result in run.results.items() if result.method.name == name)
            for name in SHOWN
        ]
        columns = [np.array(run.column(label, "pearson"), dtype=float) for label in labels]
        rows = []
        for language in sorted(set(of_clip)):
            own = np.array([each == language for each in of_clip])
            means = [f"{np.nanmean(column[own]):.2f}" for column in columns]
            rows.append([language, f"{own.sum()}", *means])
        lines += [f"{run.name}:", ""]
        lines += table(["language", "clips", *(f"`{label}`" for label in labels)], rows)
    return lines


def _languages(clips: Path) -> Mapping[str, str]:
    """Return the language of every clip that a list names."""
    told = (json.loads(line) for line in clips.read_text("utf-8").splitlines())
    return {clip["id"]: clip["language"] for clip in told}
