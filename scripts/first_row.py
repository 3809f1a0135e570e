"""From `xbench new method` to a row in a leaderboard of one's own, as a new user: each command timed, and their sum.

    python scripts/first_row.py [--whole]

In a new environment, which pip makes of this checkout with an empty home, the commands of docs/write-a-method.md are
run for the package that `xbench new method my-method` writes. --whole evaluates all clips and masks of the task, so
that the row is ranked. Exit code 1 where a command fails or the leaderboard has no such row.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "write-a-method.md"
NAME, OF_PAGE = "my-method", re.compile(r"sharpest-head(:\S+)?")
PAGES_OF_TASKS = Path("site", "tasks")


def commands(page: str, whole: bool) -> list[list[str]]:
    """Return the commands of the page, for a method of another name; a whole run has no options that make it small."""
    (block,) = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    if whole:
        block = re.sub(r" --(?:limit|masks) \d+", "", block)
    lines = OF_PAGE.sub(NAME, block).splitlines()
    return [shlex.split(line.removeprefix("$ ")) for line in lines]


def timed(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[float, int]:
    """Run a command, print its wall-clock and processor seconds, and return the former with the exit code."""
    before, started = os.times(), time.perf_counter()
    print(f"$ {shlex.join(words)}", flush=True)
    done = subprocess.run(words, cwd=folder, env=environment, check=False)
    seconds, after = time.perf_counter() - started, os.times()
    processor = (
        after.children_user - before.children_user + after.children_system - before.children_system
    )
    print(f"  {seconds:.1f} s ({processor:.1f} s of a processor)\n", flush=True)
    return seconds, done.returncode


def main() -> int:
    """Follow the page and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--whole", action="store_true", help="all clips and masks of the task")
    whole = parser.parse_args().whole
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        home, programs, package = place / "home", place / "venv" / "bin", place / NAME
        home.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("XBENCH_", "PYTHON"))}
        path = os.pathsep.join([str(programs), kept["PATH"]])
        environment = {**kept, "HOME": str(home), "PATH": path}
        environment_made = [
            (ROOT, [sys.executable, "-m", "venv", str(place / "venv")]),
            (ROOT, ["pip", "install", "-q", "-c", "constraints.txt", "-e", "."]),
        ]
        followed = [
            (place, ["xbench", "new", "method", NAME]),
            *((package, words) for words in commands(PAGE.read_text("utf-8"), whole)),
        ]
        sums = []
        for steps in (environment_made, followed):
            taken = 0.0
            for folder, words in steps:
                seconds, code = timed(words, folder, environment)
                taken += seconds
                if code != 0:
                    print(f"exit code {code}")
                    return 1
            sums.append(taken)
        rows = [
            p for p in (package / PAGES_OF_TASKS).glob("*.html") if NAME in p.read_text("utf-8")
        ]
        print(
            f"the environment: {sums[0]:.0f} s; from `xbench new method` to the leaderboard: {sums[1]:.0f} s"
        )
        print(
            f"'{NAME}' has a row on {len(rows)} page of a task" if rows else f"no row of '{NAME}'"
        )
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
