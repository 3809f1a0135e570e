"""Write docs/families.md: which family supports which method against which reference, found by running all of them.

Every family runs as a small random checkpoint (Whisper as the packaged one) with every registered method and
reference through `xbench.evaluate`, on a few tokens of two packaged clips and a handful of masks: what has a score is
supported, what is unsupported says why. Usage: python scripts/family_matrix.py docs/families.md
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from xbench import Call, RunSpec, evaluate, registry
from xbench.description import MethodDescription, Parameter
from xbench.results import RunResult
from xbench.spec import ExecutionOptions, Selection
from xbench.testing.small import write_small

TASK = """schema: xbench.task/1
name: family-matrix
version: 1
title: A few tokens of a few clips
include: [_asr.yaml, _demo.yaml]
source_languages: [en]
decoding: {beams: 1, max_tokens: 4}
"""
MASKS = 6
CLIPS = ("en-0002", "en-0006")
# Families of which not even a small random checkpoint can be made, and why.
UNTESTED = {"fama": "its code comes with the checkpoint and was not at hand"}
PASSES = {"samples", "steps", "segments", "masks"}  # parameters that say how many passes to take
LETTERS = {"spes-encoder": "E", "spes-encoder-drop": "D", "spes-input": "I"}
# References that hide the same cells in the same passes as another one, and so have a score wherever that has one.
SAME_AS = {
    "spes-encoder-contrast": "spes-encoder-drop",
    "spes-encoder-removed": "spes-encoder",
    "spes-encoder-words": "spes-encoder",
    "spes-input-contrast": "spes-input",
    "spes-input-words": "spes-input",
}

Cell = tuple[str, str]  # what the table shows, and the reason where it is not supported


def families() -> list[str]:
    """Return every registered family: the rows of the first table, the columns of the second."""
    return sorted(registry.models.names())


def methods() -> list[MethodDescription]:
    """Return every registered method: the rows of the second table."""
    return sorted(registry.methods.descriptions(), key=lambda d: (d.kind, d.name))


def call(description: MethodDescription) -> Call:
    """Return a call with some value for every required parameter, and as few passes as it may take."""
    chosen = [p for p in description.parameters if p.required or p.name in PASSES]
    return Call.make(description.name, {p.name: _some_value(p) for p in chosen})


def _some_value(parameter: Parameter) -> str | int:
    if parameter.choices:
        return parameter.choices[0]
    return "all" if parameter.type in ("indices", "str") else int(parameter.minimum or 0)


def run(family: str, root: Path) -> dict[str, RunResult]:
    """Evaluate all methods on one family; return the results by method."""
    model = (
        "xbench-tiny" if family == "whisper" else f"{family}:{write_small(family, root / family)}"
    )
    spec = RunSpec(
        model=model,
        methods=tuple(call(d) for d in methods()),
        tasks=(str(_task(root)),),
        masks=MASKS,
        references=tuple(Call(name) for name in LETTERS),
        selection=Selection(ids=CLIPS),
    )
    options = ExecutionOptions(str(root / "results"), str(root / "cache"), "cpu", None)
    return {result.method.name: result for result in evaluate(spec, options)}


def _task(root: Path) -> Path:
    """Write the task beside the fragments that it includes."""
    folder = root / "tasks"
    shutil.copytree(Path(__file__).parents[1] / "tasks", folder, dirs_exist_ok=True)
    path = folder / "family-matrix.yaml"
    path.write_text(TASK)
    return path


def cell(result: RunResult) -> Cell:
    """Say against which references a method has a score, or why it has none."""
    if result.status == "unsupported":
        return "–", str(result.reason).replace(f"model '{result.model.name}'", "this model")
    undefined = {
        s.reference: ", ".join(s.undefined) for s in result.scores if s.metric == "pearson"
    }
    scored = [r for r, why in undefined.items() if "unsupported-reference" not in why]
    return "".join(LETTERS.get(r, f" {r}") for r in scored), ""


def table(cells: Mapping[str, Mapping[str, Cell]]) -> str:
    """Return the page: family to method to cell."""
    names = families()
    reasons: list[str] = []
    lines = [f"| method | {' | '.join(names)} |", f"|---{'|---' * len(names)}|"]
    for description in methods():
        row = []
        for family in names:
            if family in UNTESTED:
                row.append("untested")
                continue
            shown, reason = cells[family][description.name]
            if reason and reason not in reasons:
                reasons.append(reason)
            row.append(f"{shown} {reasons.index(reason) + 1}" if reason else shown)
        lines.append(f"| {description.name} | {' | '.join(row)} |")
    notes = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join([*lines, "", *notes])


def checkpoints() -> list[str]:
    """Return the table of all registered checkpoints."""
    lines = [
        "| name | family | parameters | licence | status | facts compared with |",
        "|---|---|---|---|---|---|",
    ]
    for family in families():
        for c in registry.models.get(family).checkpoints:
            size = "unknown" if c.parameters is None else f"{c.parameters / 1e6:g} M"
            status = f"run: {c.tested}" if c.tested else c.status
            lines.append(f"| {c.name} | {family} | {size} | {c.licence} | {status} | {c.checked} |")
    return lines


def page(cells: Mapping[str, Mapping[str, Cell]]) -> str:
    """Return the whole document."""
    about = []
    for name in families():
        family = registry.models.get(name)
        ran = UNTESTED.get(name)
        ran = f"untested: {ran}" if ran else "a small random checkpoint"
        if tested := [c.name for c in family.checkpoints if c.tested]:
            ran = f"run: {', '.join(tested)}"
        about.append(f"| {name} | {family.summary} | {family.source} | {ran} |")
    return "\n".join(
        [
            "# Model families",
            "",
            "Written by `python scripts/family_matrix.py docs/families.md`; not by hand.",
            "",
            "| family | what it is | its loader is written from | what ran here |",
            "|---|---|---|---|",
            *about,
            "",
            "A cell names the references against which the method has a score: E is `spes-encoder`, D is "
            "`spes-encoder-drop`, I is `spes-input`. A dash with a number is unsupported, for the reason below "
            "the table. `spes-encoder-contrast` is as D; `spes-encoder-removed` and `spes-encoder-words` are as E, "
            "`spes-input-contrast` and `spes-input-words` as I. Every family ran as a small "
            "random checkpoint (Whisper as `xbench-tiny`), so this says "
            "what can be computed, not how good it is. A model of the raw waveform has no spectrogram and thus "
            "no `spes-input`. `shuffled` needs two clips with different hypotheses, and some random checkpoints"
            " write the same for both.",
            "",
            table(cells),
            "",
            "## Registered checkpoints",
            "",
            "Run: the checkpoint's own weights were run here, as it says; `xbench check model` is the battery of "
            "checks that every family has to pass. Untested: the weights lie on the hub only and nobody could run "
            "them here; the loader of the family is written from the source that the first table names. The last "
            "column says which facts were compared with what; those that it does not name were not.",
            "",
            *checkpoints(),
            "",
        ]
    )


def main() -> None:
    """Run everything and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        cells = {}
        for family in families():
            if family in UNTESTED:
                continue
            print(family, flush=True)
            cells[family] = {n: cell(r) for n, r in run(family, Path(folder)).items()}
    Path(sys.argv[1]).write_text(page(cells), "utf-8")


if __name__ == "__main__":
    main()
