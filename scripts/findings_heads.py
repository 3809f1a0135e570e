"""The part of docs/findings.md on which heads to use, from leaderboard/heads.json.

    xbench heads MODEL --data CLIPS --json | python scripts/findings_heads.py

keeps of the command's output what the page shows, under its own names; a model that stands there already is replaced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "leaderboard" / "heads.json"
KEPT = ("model", "task", "metric", "reference", "dev", "n", "clusters", "floor", "ceiling", "sets")

WORDS = """## Which heads?

Heads were chosen on a part of the English clips and judged on the others, which no choice has seen
(`xbench heads MODEL --data CLIPS`). `greedy-heads` adds the head that helps the mean of the set most until none
does; `alignment-heads` are those that OpenAI published; layers and heads count from 0. In brackets the 95 %
interval over the speakers of the clips that judge."""


def heads(file: Path = FILE) -> list[str]:
    """Write a table per model: agreement of each set of heads, and which heads it has."""
    lines = []
    for told in json.loads(file.read_text("utf-8")):
        lines += [
            f"{told['model']}: chosen on {told['dev']} clips, judged on {told['n']} of {told['clusters']} speakers; "
            f"`{told['metric']}` against `{told['reference']}`, floor {_cell(told['floor'])}, "
            f"ceiling {_cell(told['ceiling'])}.",
            "",
            "| set | agreement | heads as layer.head |",
            "|---|---|---|",
        ]
        for row in told["sets"]:
            found = row["heads"]
            names = (
                "all" if found is None else ", ".join(f"{layer}.{head}" for layer, head in found)
            )
            lines.append(f"| `{row['method']}` | {_cell(row['score'])} | {names} |")
        lines.append("")
    return lines


def _cell(score: Mapping[str, Any]) -> str:
    ends = score["ci"]
    return f"{score['value']:.2f}" + (f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else "")


def main() -> None:
    """Read one command's output from the standard input, and write the file."""
    told = json.load(sys.stdin)
    stored = json.loads(FILE.read_text("utf-8")) if FILE.exists() else []
    others = [each for each in stored if each["model"] != told["model"]]
    own = {key: told[key] for key in KEPT}
    rows = sorted([*others, own], key=lambda each: each["model"])
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    FILE.write_text(f"[\n{lines}\n]\n", "utf-8")


if __name__ == "__main__":
    main()
