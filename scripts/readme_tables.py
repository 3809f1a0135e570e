"""Write the two tables of results in README.md from the result files of submissions/, between the marks around each.

    python scripts/readme_tables.py [--results submissions] [--readme README.md]

Reads `xbench.result/1` files only: no model, no store. One table is of real Whisper on real speech, the other of the
embedded model on one task of the demo.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from findings_runs import Run, interval, runs_of, table
from xbench.results import Interval, RunResult, load_results

ROOT = Path(__file__).parents[1]
REAL, CLIPS = ("asr/whisper-tiny.en", "asr/whisper-base"), "real-speech-asr-en"
DEMO = "demo-st-multi/xbench-tiny"
FLOOR = "(control: the floor)"
CEILING = "*ceiling: what noise in the reference, and the protocol, allow*"
# Which methods stand in a table, by name and the parameters that tell them apart, and what is said of them there.
Shown = Mapping[tuple[str, tuple[tuple[str, object], ...]], str]
OF_REAL: Shown = {
    ("value-norm-resln", ()): "",
    ("chefer", ()): "",
    ("mean-heads", ()): "",
    ("alignment-heads", ()): "",
    ("diagonal", ()): FLOOR,
}
OF_DEMO: Shown = {
    ("mean-heads", ()): "(all layers)",
    ("raw-attention", (("layer", 1), ("head", 3))): "",
    ("mean-layers", (("head", 0),)): "",
    ("diagonal", (("width", 0.2),)): FLOOR,
    ("random", ()): "(control)",
}


def rows_of(results: Sequence[RunResult], shown: Shown) -> list[tuple[str, RunResult]]:
    """Return the results that a table shows, each with its label."""
    found = []
    for (name, parameters), remark in shown.items():
        (result,) = (
            r
            for r in results
            if r.method.name == name and set(parameters) <= set(r.method.params.items())
        )
        chosen = ",".join(f"{key}={value}" for key, value in parameters if name != "diagonal")
        label = f"`{name}:{chosen}`" if chosen else f"`{name}`"
        found.append((f"{label} {remark}".rstrip(), result))
    return found


def of_real(run: Run) -> list[list[str]]:
    """Return a row per method of one model: per token, by effect, under the paper's protocol; then the ceilings."""
    rows = []
    for label, result in rows_of(list(run.results.values()), OF_REAL):
        own, paper = result.score("pearson"), result.score("pearson-paper")
        rows.append(
            [
                label,
                interval(own.value, own.ci),
                written(own.weighted),
                interval(paper.value, paper.ci),
            ]
        )
    own, paper = run.any.score("pearson"), run.any.score("pearson-paper").ceiling
    ceilings = [written(own.ceiling), written(own.weighted_ceiling), written(paper)]
    rows.append([CEILING, *ceilings])
    name = run.model.removeprefix("whisper:")
    return [[name if index == 0 else "", *row] for index, row in enumerate(rows)]


def of_demo(results: Sequence[RunResult]) -> list[list[str]]:
    """Return a row per method: score and skill, and both by effect."""
    rows = []
    for label, result in rows_of(results, OF_DEMO):
        score = result.score("pearson")
        cells = [interval(score.value, score.ci), interval(score.skill.value, None)]
        by_effect = score.weighted_skill
        skill = interval(by_effect.value if by_effect else None, None)
        rows.append([label, *cells, written(score.weighted), skill])
    return rows


def written(estimate: Interval | None) -> str:
    """Write a value with its interval; a dash in results older than it."""
    return "–" if estimate is None else interval(estimate.value, estimate.ci)


def tables(results: Path) -> dict[str, list[str]]:
    """Return the lines of both tables by the name in their marks."""
    real = [
        row
        for folder in REAL
        for run in runs_of(load_results(results / folder))
        if run.clips == CLIPS
        for row in of_real(run)
    ]
    per_token = "agreement per token [95 % interval]"
    head = ["model", "method", per_token, "by effect", "under the paper's protocol"]
    demo = of_demo(load_results(results / DEMO))
    demo_head = ["method", "score [95 % interval]", "skill", "by effect", "skill by effect"]
    return {"real speech": table(head, real), "demo": table(demo_head, demo)}


def filled(readme: str, found: Mapping[str, Sequence[str]]) -> str:
    """Return the text with every table in its place; SystemExit where a mark is missing."""
    for name, lines in found.items():
        first = f"<!-- {name}: made by scripts/readme_tables.py -->"
        pattern = re.compile(f"(?<={re.escape(first)}\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
        body = "\n" + "\n".join(lines) + "\n"
        readme, count = pattern.subn(lambda _, body=body: body, readme)
        if count != 1:
            raise SystemExit(f"the README has no marks {first} and <!-- end of {name} -->")
    return readme


def main() -> None:
    """Read the command line and write the README."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=ROOT / "submissions")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    given = parser.parse_args()
    text = filled(given.readme.read_text("utf-8"), tables(given.results))
    given.readme.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
