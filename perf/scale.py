"""Many clips in one command: does memory stay flat and time linear, and what does a finished run cost again?

    python perf/scale.py                   writes perf/scale.md and .json; half an hour of one core
    python perf/scale.py --clips 20,40     prints only

Clips are cut out of the packaged test clips, each one second long, no two from the same place. The run is the cheapest
that has all stages: xbench-tiny, two methods, `spes-encoder` of 60 masks. At each size it is run, run again when all is
done, and scored. Each command is a process of its own, with one thread; times are CPU seconds, which a shared machine
disturbs less than wall time, and memory is the largest resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import soundfile

from xbench.data.demo import demo_manifest

HERE = Path(__file__).parent
SECONDS = 1.0
TARGET_CLIPS, TARGET_SECONDS = 1_500, 5.0
COMMANDS = ("run", "run again", "score")
METHODS = ("mean-heads", "diagonal:width=0.2")
REFERENCE = "spes-encoder:masks=60"
METRICS = ("pearson", "auroc")
BEFORE = (
    "Before a finished run was repeated without the model, and records were read once (87f152b), the two took\n"
    "16.7 and 12.9 s on such a store of 1,500 clips."
)


@dataclass(frozen=True)
class Cost:
    """One command: CPU seconds, and the largest resident set in MB."""

    clips: int
    command: str
    seconds: float
    megabytes: float


def write_clips(folder: Path, count: int) -> Path:
    """Write so many clips, each another second of the packaged speech; return their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    source = demo_manifest("test")
    rows = [json.loads(line) for line in source.read_text("utf-8").splitlines()]
    sounds = [soundfile.read(source.parent / row["audio"]) for row in rows]
    written = []
    for number in range(count):
        row, (sound, rate) = rows[number % len(rows)], sounds[number % len(rows)]
        length = round(SECONDS * rate)
        # Every round over the packaged clips starts 20 ms later.
        first = (number // len(rows)) * rate // 50 % (len(sound) - length)
        soundfile.write(folder / f"{number}.wav", sound[first : first + length], rate)
        said = {"id": str(number), "audio": f"{number}.wav", "cluster": row["cluster"]}
        written.append({**said, **{key: row[key] for key in ("language", "transcript")}})
    file = folder / "clips.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in written), "utf-8")
    return file


def evaluate(folder: Path, manifest: Path) -> list[str]:
    """Return the command of the run on these clips, whose store and results lie in a folder."""
    named = [
        *(("--method", name) for name in METHODS),
        *(("--metric", name) for name in METRICS),
        ("--reference", REFERENCE),
        ("--data", str(manifest)),
        ("--cache", str(folder / "store")),
        ("--output", str(folder / "results")),
    ]
    command = ["eval", "--model", "xbench-tiny", "--device", "cpu"]
    return command + [text for pair in named for text in pair]


def run(command: Sequence[str], clips: int, name: str) -> Cost:
    """Run one xbench command and return what it cost; the child alone is measured."""
    program = [sys.executable, "-m", "xbench", *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"xbench {' '.join(command)} ended with {process.returncode}")
    cost = Cost(clips, name, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    print(f"{clips} clips, {name}: {cost.seconds:.1f} s, {cost.megabytes:.0f} MB", flush=True)
    return cost


def measured(folder: Path, counts: Sequence[int]) -> list[Cost]:
    """Run at every size; repeat the finished run, and score its results."""
    costs = []
    for count in counts:
        here = folder / str(count)
        command = evaluate(here, write_clips(here / "clips", count))
        stored = ("--cache", str(here / "store"), "--output", str(here / "scored"))
        costs.append(run(command, count, "run"))
        costs.append(run(command, count, "run again"))
        costs.append(run(("score", str(here / "results"), *stored), count, "score"))
    return sorted(costs, key=lambda cost: COMMANDS.index(cost.command))


def report(costs: Sequence[Cost]) -> str:
    """Return the table, and which target is met."""
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    lines = [
        "# Many clips in one command",
        "",
        "`python perf/scale.py`: clips of one second, xbench-tiny, two methods, two metrics, `spes-encoder` of 60",
        "masks, one thread. CPU seconds of each command, imports and loading of the model included; `run again` is the",
        f"same command when all is done. Load of the machine at the end (1, 5, 15 minutes): {load}.",
        "",
        "| Command | Clips | CPU s | CPU ms per clip more | Peak memory, MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    before: Cost | None = None
    for cost in costs:
        same = before if before and before.command == cost.command else None
        more = same and 1000 * (cost.seconds - same.seconds) / (cost.clips - same.clips)
        row = (
            cost.command,
            f"{cost.clips:,}",
            f"{cost.seconds:.1f}",
            "" if more is None else f"{more:.{0 if more > 10 else 1}f}",
            f"{cost.megabytes:.0f}",
        )
        lines.append(f"| {' | '.join(row)} |")
        before = cost
    for cost in (c for c in costs if c.command != "run" and c.clips == TARGET_CLIPS):
        met = "met" if cost.seconds <= TARGET_SECONDS else "not met"
        lines += ["", f"Target, `{cost.command}` of 1,500 clips under 5 s: {met}."]
    lines += ["", BEFORE]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write the report when all is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", default="30,1500,10000")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xbench-scale-") as folder:
        costs = measured(Path(folder), [int(n) for n in given.clips.split(",")])
    text = report(costs)
    print(text)
    if given.clips == parser.get_default("clips"):
        (HERE / "scale.md").write_text(text, "utf-8")
        rows = json.dumps([asdict(cost) for cost in costs], indent=1) + "\n"
        (HERE / "scale.json").write_text(rows, "utf-8")


if __name__ == "__main__":
    main()
