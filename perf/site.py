"""Build the leaderboard of 10,000 made-up scores, cold and again: seconds, megabytes, files.

Usage: python perf/site.py [ROWS]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "site"))

from synthetic import many, write

from xbench.site.build import build


def main(rows: int) -> None:
    """Time two builds of this many scores."""
    with tempfile.TemporaryDirectory() as folder:
        results = write(Path(folder) / "results", many(rows))
        for what in ("cold", "again"):
            wall, cpu = time.perf_counter(), time.process_time()
            built = build([results], Path(folder) / "site")
            print(
                f"{what}: {built.rows} scores of {built.runs} results, {built.files} files, "
                f"{built.bytes / 1e6:.1f} MB: {time.perf_counter() - wall:.1f} s "
                f"({time.process_time() - cpu:.1f} s of processor)"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
