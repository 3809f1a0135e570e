"""What several processes gain, what Ray costs, how long it takes to the first mask, and what a kill costs.

    python perf/executors.py                              writes perf/executors.md and .json
    python perf/executors.py --clips 4 --repetitions 1    prints only

The run: `mean-heads` on packaged clips, xbench-tiny, `spes-encoder` of 1,500 masks, on the CPU. It is made by one local
process with one thread, by two local processes and by two actors of Ray with one thread each, by turns, each time as a
command of its own with a store of its own. A watcher sees in the store when a command has written its first hypothesis
(all processes have loaded the model) and its first block of masks. So

    start     from the command to the first hypothesis: imports, Ray, the model
    masks     from the command to the first 500 masks of a reference; the first mask was measured before. A run decodes
              all clips first, so this is taken from a run of 16 clips by itself
    work      from the first hypothesis to the end of the command

A kill: a local process that estimates one reference of 20,000 masks is killed (SIGKILL) at a random moment. It notes
every batch of masks that it has measured; those that are in no block in the store are lost, and are measured again.

Wall time: nothing else may run on the two processors. Needs Ray (`pip install 'xbench[ray]'`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from xbench import ExecutionOptions, RunSpec, evaluate
from xbench.data.demo import demo_manifest
from xbench.runner.progress import Silent
from xbench.spec import Call

HERE = Path(__file__).parent
MASKS, MASKS_OF_ONE, BLOCK = 1_500, 20_000, 500
FEW = 16  # clips of the runs whose first masks are waited for
NEVER = 0.999  # a reliability that so few masks do not reach: all of them are drawn
WAYS = {
    "one local process": ("--executor", "local"),
    "two local processes": ("--executor", "local", "--workers", "2"),
    "two actors of Ray": ("--executor", "ray", "--workers", "2"),
}
ALONE, LOCAL, RAY = WAYS
LEAST_GAIN, MOST_OVERHEAD, MOST_START = 1.7, 0.10, 6.0
WATCHED_EVERY = 0.02  # seconds
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Times:
    """One command: seconds from its start to its first hypothesis, its first block of masks, and its end."""

    way: str
    start: float
    masks: float
    end: float

    @property
    def work(self) -> float:
        """Seconds from the first hypothesis to the end."""
        return self.end - self.start


# -- gain and overhead ----------------------------------------------------------------------------


def first_clips(folder: Path, count: int) -> Path:
    """Write a manifest of the first packaged clips of the test split."""
    source = demo_manifest("test")
    lines = [json.loads(line) for line in source.read_text("utf-8").splitlines()[:count]]
    file = folder / "clips.jsonl"
    placed = [{**line, "audio": str(source.parent / line["audio"])} for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in placed), "utf-8")
    return file


def command(way: str, clips: Path, folder: Path) -> list[str]:
    """Return the command of a run, whose store and results lie in a folder."""
    return [
        *(sys.executable, "-m", "xbench", "eval", "--model", "xbench-tiny", "--device", "cpu"),
        *("--method", "mean-heads", "--metric", "pearson", "--data", str(clips)),
        *("--reference", f"spes-encoder:masks={MASKS},until={NEVER}"),
        *("--cache", str(folder / "store"), "--output", str(folder / "results"), *WAYS[way]),
    ]


def measured(way: str, clips: Path) -> Times:
    """Run one command and watch its store."""
    with tempfile.TemporaryDirectory(prefix="xbench-executors-") as folder:
        store, started = Path(folder, "store"), time.monotonic()
        run = subprocess.Popen(
            command(way, clips, Path(folder)), env=ONE_THREAD, stdout=subprocess.DEVNULL
        )
        seen: dict[str, float] = {}
        while run.poll() is None:
            for kind in {"hypothesis", "block"} - seen.keys():
                if next(store.glob(f"{kind}/*/[0-9a-f]*.json"), None):
                    seen[kind] = time.monotonic() - started
            time.sleep(WATCHED_EVERY)
        end = time.monotonic() - started
    if run.returncode != 0:
        raise SystemExit(f"xbench {' '.join(run.args[3:])} ended with {run.returncode}")
    times = Times(way, seen["hypothesis"], seen["block"], end)
    print(f"{way}: {times.start:.1f} s, {times.masks:.1f} s, {times.end:.1f} s", flush=True)
    return times


def compared(rows: Sequence[Times], way: str, other: str) -> list[float]:
    """Return the work of a way over that of another, repetition by repetition."""
    works = ([row.work for row in rows if row.way == name] for name in (way, other))
    return [first / second for first, second in zip(*works, strict=True)]


# -- kills ----------------------------------------------------------------------------------------


class Noting(Silent):
    """A reporter that writes into a file how many masks were measured."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Note the steps of references; those of other stages are utterances."""
        with self._file.open("a", buffering=1) as notes:
            is_ours = title.endswith("reference")
            yield lambda count: print(count, file=notes) if is_ours else None


def noted(folder: Path) -> None:
    """Estimate one reference of many masks; the masks that are measured are noted in a file."""
    spec = RunSpec(
        model="xbench-tiny",
        methods="mean-heads",
        tasks="asr",
        data=str(folder / "clips.jsonl"),
        references=(Call.make("spes-encoder", {"masks": MASKS_OF_ONE, "until": NEVER}),),
        metrics="pearson",
    )
    options = ExecutionOptions(str(folder / "results"), str(folder / "store"), "cpu")
    evaluate(spec, options, Noting(folder / "measured"))


def lost_by_a_kill(moments: random.Random) -> int:
    """Kill a run once it measures masks; return how many of these are not in the store."""
    with tempfile.TemporaryDirectory(prefix="xbench-executors-") as name:
        folder = Path(name)
        first_clips(folder, 1)
        notes = folder / "measured"
        with subprocess.Popen([sys.executable, __file__, "--noted", name], env=ONE_THREAD) as run:
            while run.poll() is None and not (notes.exists() and notes.stat().st_size):
                time.sleep(WATCHED_EVERY)
            time.sleep(moments.uniform(0, 6))
            run.send_signal(signal.SIGKILL)
        if run.returncode != -signal.SIGKILL:
            raise SystemExit("the run that was to be killed had ended before")
        measured = sum(int(line) for line in notes.read_text("utf-8").split())
        stored = 0
        for file in (folder / "store").glob("block/*/[0-9a-f]*.npz"):
            with np.load(file) as arrays:
                stored += len(arrays[arrays.files[0]]) if arrays.files else 0
    print(f"killed: {measured} masks measured, {stored} stored", flush=True)
    return measured - stored


# -- report ---------------------------------------------------------------------------------------


def report(rows: Sequence[Times], few: Sequence[Times], lost: Sequence[int], clips: int) -> str:
    """Return the tables, and whether targets are met."""
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    lines = [
        "# One process, several, and Ray",
        "",
        f"`python perf/executors.py`: {clips} packaged clips, xbench-tiny, `spes-encoder` of {MASKS:,} masks, CPU, one",
        "thread per process. Medians of wall seconds over repetitions by turns, with their range; the script says what",
        f"is timed. Load of the machine at the end (1, 5, 15 minutes): {load}.",
        "",
        "| Run by | Start | Work | Whole command |",
        "| --- | --- | --- | --- |",
    ]
    for way in WAYS:
        of_way = [row for row in rows if row.way == way]
        cells = [
            _spread([getattr(row, what) for row in of_way], "{:.1f} s")
            for what in ("start", "work", "end")
        ]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    gain = [1 / ratio for ratio in compared(rows, RAY, ALONE)]
    overhead = [ratio - 1 for ratio in compared(rows, RAY, LOCAL)]
    masks = [row.masks for row in few]
    targets = (
        (f"Work, {RAY} against {ALONE}, at least {LEAST_GAIN} times as fast", gain, "{:.2f}"),
        (f"Work, {RAY} longer than {LOCAL}, under {MOST_OVERHEAD:.0%}", overhead, "{:.1%}"),
        (
            f"Command to first masks, {ALONE}, {FEW} clips, under {MOST_START:.0f} s",
            masks,
            "{:.1f} s",
        ),
        (f"Masks that a kill costs, at most {BLOCK}", lost, "{:.0f}"),
    )
    met = (
        statistics.median(gain) >= LEAST_GAIN,
        statistics.median(overhead) < MOST_OVERHEAD,
        statistics.median(masks) < MOST_START,
        max(lost) <= BLOCK,
    )
    lines += ["", "| Target | Measured | |", "| --- | --- | --- |"]
    for (target, values, form), reached in zip(targets, met, strict=True):
        lines.append(f"| {target} | {_spread(values, form)} | {'met' if reached else 'not met'} |")
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float], form: str) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{form} ({form} to {form})".format(middle, low, high)


def main() -> None:
    """Measure, print, and write the report when all is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--noted", type=Path, help=argparse.SUPPRESS)  # what a kill ends
    given = parser.parse_args()
    if given.noted:
        noted(given.noted)
        return
    with tempfile.TemporaryDirectory(prefix="xbench-executors-") as folder:
        clips = first_clips(Path(folder), given.clips)
        rows = [measured(way, clips) for _ in range(given.repetitions) for way in WAYS]
        clips = first_clips(Path(folder), min(FEW, given.clips))
        few = [measured(ALONE, clips) for _ in range(given.repetitions)]
    moments = random.Random(0)
    lost = [lost_by_a_kill(moments) for _ in range(given.repetitions)]
    text = report(rows, few, lost, given.clips)
    print(text)
    if all(getattr(given, n) == parser.get_default(n) for n in ("clips", "repetitions")):
        (HERE / "executors.md").write_text(text, "utf-8")
        found = {
            "commands": [asdict(row) for row in rows],
            f"commands_of_{FEW}_clips": [asdict(row) for row in few],
            "masks_lost_by_a_kill": lost,
        }
        (HERE / "executors.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
