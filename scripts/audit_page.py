"""Write `leaderboard/audit.json`, from which the site makes its page "Which column to trust".

    xbench audit metrics RESULTS --json | python scripts/audit_page.py

The page shows of each finding its smallest step, the clips it needs, the order of the steps and what raises the score;
only these fields are kept, under the names that the command gives them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "leaderboard" / "audit.json"


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


def main() -> None:
    """Read the audit from the standard input, and write the file."""
    told = json.load(sys.stdin)
    told["findings"] = [kept(finding) for finding in told["findings"]]
    lines = ",\n".join(json.dumps(finding, ensure_ascii=False) for finding in told["findings"])
    head = json.dumps({key: value for key, value in told.items() if key != "findings"})[:-1]
    FILE.write_text(f'{head}, "findings": [\n{lines}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
