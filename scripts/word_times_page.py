"""Write `leaderboard/word-times.json`: how well the methods of the runs on real speech time words (docs/findings.md).

    python scripts/word_times_page.py RESULTS... --cache DIR

RESULTS are those of `real_results.py MODEL words-en` and `words-multi`, DIR the store of these runs. Kept is what
`xbench decisions words --json` prints, a part per run, of each number what is shown; of a run over several languages
also what `--language` prints of each, word onsets alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xbench.decisions.words import Timed, word_times
from xbench.results import RunResult, load_results
from xbench.runner.rescore import grouped
from xbench.store import Store, default_folder

FILE = Path(__file__).resolve().parents[1] / "leaderboard" / "word-times.json"
TOLERANCE = 0.05
DIGITS = 5


def kept(value: Any) -> Any:
    """Return numbers rounded, and of an estimate its value and interval."""
    if isinstance(value, Mapping):
        names = ("value", "low", "high") if "ci_reason" in value else value
        return {str(name): kept(value[name]) for name in names}
    return round(value, DIGITS) if isinstance(value, float) else value


def counted(found: Timed) -> dict[str, Any]:
    """Return how much speech there is, and how much of it the hypotheses hold."""
    return {
        "words": found.words,
        "inserted": found.inserted,
        "n": found.covered.n,
        "speakers": found.covered.n_clusters,
        "covered": found.covered.value,
    }


def by_language(results: Sequence[RunResult], store: Store) -> list[dict[str, Any]]:
    """Return the same of each language of a run over several, and how far each method's word onsets are off."""
    languages = results[0].task.source_language
    if len(languages) < 2:
        return []
    parts = []
    for language in languages:
        found = word_times(results, tolerance=TOLERANCE, store=store, language=language)
        onsets = {row.method: kept(asdict(row.onset)) for row in found.rows}
        parts.append({"language": language, **counted(found), "onset": onsets})
    return parts


def main() -> None:
    """Read the command line, hold the maps of every run against the known times, and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    results = [r for r in load_results(*given.results) if r.status in ("complete", "partial")]
    store = Store(given.cache or default_folder())
    runs = []
    for indices in grouped(results):
        own = [results[index] for index in indices]
        found = word_times(own, tolerance=TOLERANCE, store=store)
        told = {
            "model": own[0].model.name,
            "clips": own[0].task.dataset.name,
            **counted(found),
            "tolerance": found.tolerance,
            "languages": by_language(own, store),
        }
        rows = ",\n".join(json.dumps(kept(asdict(row)), ensure_ascii=False) for row in found.rows)
        runs.append(f'{json.dumps(told).removesuffix("}")}, "rows": [\n{rows}\n]}}')
    joined = ",\n".join(sorted(runs))
    FILE.write_text(f'{{"runs": [\n{joined}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
