"""Write `leaderboard/audit.json` and `rivals.json`, from which the site makes its page "Which column to trust".

    xbench audit metrics RESULTS --json | python scripts/audit_page.py
    xbench audit references RESULTS ... --json | python scripts/audit_page.py --rivals MODEL

Each set of clips on which references were judged by each other is a table of its own: the last one is added, or
replaces that with the same judges.

The page shows of each finding its smallest step, the clips it needs, the order of the steps and what raises the score;
only these fields are kept, under the names that the command gives them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "leaderboard"
FILE, RIVALS = FOLDER / "audit.json", FOLDER / "rivals.json"


def kept(finding: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of a finding; of its steps the smallest that is told apart."""
    names = ("start", "metric", "reference", "ladder", "intact", "blind", "sensitivity", "raised")
    steps = [
        {"size": step["size"], "clips_needed": step["clips_needed"]}
        for step in finding["steps"]
        if step["size"] == finding["sensitivity"]
    ]
    return {
        **{name: finding[name] for name in names},
        "order": {"value": finding["order"]["value"]},
        "steps": steps,
    }


def table_of_rivals(told: Sequence[Mapping[str, Any]], model: str) -> dict[str, Any]:
    """Return what the page shows of rivalries by `pearson`."""
    names = ("value", "low", "high")
    rows = [
        {
            "judge": row["judge"],
            "rival": row["rival"],
            **{
                part: {name: row[part][name] for name in names}
                for part in ("sampling", "score", "ceiling")
            },
        }
        for row in told
        if row["metric"] == "pearson"
    ]
    score = told[0]["score"]
    return {
        "model": model,
        "clips": score["n"],
        "clusters": score["n_clusters"],
        "rivals": rows,
    }


def add_rivals(model: str) -> None:
    """Read rivalries from the standard input, and put their table into the file."""
    new = table_of_rivals(json.load(sys.stdin), model)
    tables = json.loads(RIVALS.read_text("utf-8")) if RIVALS.is_file() else []

    def judges(table: Mapping[str, Any]) -> tuple[str, set[str]]:
        return table["model"], {row["judge"] for row in table["rivals"]}

    kept = [table for table in tables if judges(table) != judges(new)]
    RIVALS.write_text(json.dumps([*kept, new], indent=1, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    """Read an audit from the standard input, and write its file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rivals", metavar="MODEL", help="it is an audit of references")
    model = parser.parse_args().rivals
    if model:
        add_rivals(model)
    else:
        write_audit(json.load(sys.stdin))


def write_audit(told: dict[str, Any]) -> None:
    """Write the audit of metrics."""
    told["findings"] = [kept(finding) for finding in told["findings"]]
    lines = ",\n".join(json.dumps(finding, ensure_ascii=False) for finding in told["findings"])
    head = json.dumps({key: value for key, value in told.items() if key != "findings"})[:-1]
    FILE.write_text(f'{head}, "findings": [\n{lines}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
