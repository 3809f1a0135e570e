"""Write `leaderboard/usefulness.json`, of which the site and docs/findings.md say whether scores foresee uses.

    xbench decisions usefulness RESULTS... --json | python scripts/usefulness_page.py

Of the command's output the correlations are kept, and of each the fields that are shown, under their own names; also
which models are ordered where models are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "leaderboard" / "usefulness.json"


def kept(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of a correlation."""
    names = ("model", "task", "data", "over", "judge", "use", "units")
    tau = {name: row["tau"][name] for name in ("value", "low", "high", "n", "n_clusters", "reason")}
    return {**{name: row[name] for name in names}, "tau": tau}


def main() -> None:
    """Read the correlations from the standard input, and write the file."""
    told = json.load(sys.stdin)
    # Fewer than three models have no order.
    rows = [r for r in told["rows"] if r["over"] != "models" or r["tau"]["value"] is not None]
    lines = ",\n".join(json.dumps(kept(row), ensure_ascii=False) for row in rows)
    absent = json.dumps(told["absent"], ensure_ascii=False)
    models = json.dumps(sorted({mean["model"] for mean in told["means"]}), ensure_ascii=False)
    FILE.write_text(f'{{"absent": {absent}, "models": {models}, "rows": [\n{lines}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
