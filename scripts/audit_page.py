"""Write `leaderboard/audit.json` and `rivals.json`, from which the site makes its page "Which column to trust".

    xbench audit metrics RESULTS --json | python scripts/audit_page.py
    xbench audit metrics RESULTS --metric deletion-auc ... --json | python scripts/audit_page.py --interventions
    xbench audit metrics RESULTS ... --json | python scripts/audit_page.py --tables
    xbench audit references RESULTS ... --json | python scripts/audit_page.py --rivals MODEL

--interventions also writes their table in docs/audit.md; --tables writes no file and prints such tables, one for each
reference.

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

from xbench.site.audited import AuditTable, tables_of

ROOT = Path(__file__).resolve().parents[1]
FILE, RIVALS = ROOT / "leaderboard" / "audit.json", ROOT / "leaderboard" / "rivals.json"
PAGE = ROOT / "docs" / "audit.md"
BY_INTERVENTION = "by intervention"


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


def lines_of(table: AuditTable, column: str = "column") -> list[str]:
    """Return a table of an audit in Markdown, a line per metric."""
    rows = (
        [f"`{row.metric}`", "–" if row.intact is None else f"{row.intact:.3f}", *row.cells]
        for row in table.rows
    )
    head = [column, "intact", *table.ladders]
    written = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return [written[0], "|" + "---|" * len(head), *written[1:]]


def put(page: str, table: Sequence[str]) -> str:
    """Return a page with this table in the place of the one with the same head."""
    before, head, rest = page.partition(f"{table[0]}\n")
    if not head:
        raise SystemExit(f"{PAGE} holds no table with the head {table[0]}")
    lines = rest.splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return before + "".join(f"{line}\n" for line in table) + "".join(lines[end:])


def write_audit(told: dict[str, Any], part: str) -> None:
    """Write one part of the audit, `findings` or `interventions`, beside the other one of the same run.

    Findings of another run throw interventions of the old one away.
    """
    whole = json.loads(FILE.read_text("utf-8"))
    new = {key: value for key, value in told.items() if key != "findings"}
    old = {key: whole[key] for key in new}
    if part == "interventions" and old != new:
        raise SystemExit(f"{FILE} is of {old}, this audit of {new}: make both of one run")
    parts = {key: whole[key] if old == new else [] for key in ("findings", "interventions")}
    parts[part] = [kept(finding) for finding in told["findings"]]
    text = json.dumps(new, ensure_ascii=False)[:-1]
    for key, found in parts.items():
        lines = ",\n".join(json.dumps(finding, ensure_ascii=False) for finding in found)
        text += f', "{key}": [\n{lines}\n]'
    FILE.write_text(f"{text}}}\n", "utf-8")


def main() -> None:
    """Read an audit from the standard input, and write its file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--rivals", metavar="MODEL", help="it is an audit of references")
    what.add_argument("--interventions", action="store_true", help="of metrics by intervention")
    what.add_argument("--tables", action="store_true", help="print tables only")
    given = parser.parse_args()
    if given.rivals:
        add_rivals(given.rivals)
        return
    told = json.load(sys.stdin)
    if given.tables:
        for table in tables_of(told["findings"]):
            print(f"\n`{table.reference}`:\n", *lines_of(table), sep="\n")
        return
    write_audit(told, "interventions" if given.interventions else "findings")
    if given.interventions:
        (table,) = tables_of(told["findings"])
        PAGE.write_text(put(PAGE.read_text("utf-8"), lines_of(table, BY_INTERVENTION)), "utf-8")


if __name__ == "__main__":
    main()
