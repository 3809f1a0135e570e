"""Many clips in one command: does memory stay flat and time linear, and what does a finished run cost again?

    python perf/scale.py                     300 and 1,500 clips; writes perf/scale.md and .json
    python perf/scale.py --clips 20,60       prints only
    python perf/scale.py --folder DIR        keeps clips, stores, results and the cost of finished runs there

Clips are cut out of the packaged test clips, each one second long, at another place, in equal numbers per language,
so every one is decoded, measured and explained by itself. The run is the cheapest that has all stages: xbench-tiny, two
methods, `spes-encoder` with a single block of masks. Each command is a process of its own, with one thread; its
times are CPU seconds, which a shared machine disturbs less than wall time, and its memory is the largest resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
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
TARGET_SECONDS = 5.0
TARGET_CLIPS = 1_500
RUN = ("--model", "xbench-tiny", "--method", "mean-heads", "--method", "diagonal:width=0.2")
RUN += ("--reference", "spes-encoder:masks=500", "--metric", "pearson", "--metric", "auroc")
RUN += ("--device", "cpu")


@dataclass(frozen=True)
class Cost:
    """One command: CPU seconds, and the largest resident set in MB."""

    clips: int
    command: str
    seconds: float
    megabytes: float


def write_clips(folder: Path, count: int) -> Path:
    """Write so many clips, each another second of the packaged speech; return their manifest."""
    manifest = folder / "clips.jsonl"
    if manifest.exists():
        return manifest
    folder.mkdir(parents=True, exist_ok=True)
    source = demo_manifest("test")
    rows = [json.loads(line) for line in source.read_text("utf-8").splitlines()]
    sounds = [soundfile.read(source.parent / row["audio"]) for row in rows]
    written = []
    for number in range(count):
        row, (sound, rate) = rows[number % len(rows)], sounds[number % len(rows)]
        length = round(SECONDS * rate)
        # Every round over the packaged clips starts 20 ms later; the start comes round once per clip.
        first = (number // len(rows)) * rate // 50 % (len(sound) - length)
        soundfile.write(folder / f"{number}.wav", sound[first : first + length], rate)
        said = {"id": str(number), "audio": f"{number}.wav", "cluster": row["cluster"]}
        written.append({**said, **{key: row[key] for key in ("language", "transcript")}})
    manifest.write_text("".join(json.dumps(each) + "\n" for each in written), "utf-8")
    return manifest


def run(command: Sequence[str], clips: int, name: str) -> Cost:
    """Run one xbench command and return what it cost; the child alone is measured."""
    program = [sys.executable, "-m", "xbench", *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # 1: some clips failed, as some of so many may
        raise SystemExit(f"xbench {' '.join(command)} ended with {process.returncode}")
    cost = Cost(clips, name, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    print(f"{clips} clips, {name}: {cost.seconds:.1f} s, {cost.megabytes:.0f} MB", flush=True)
    return cost


def measured(folder: Path, clips: int) -> list[Cost]:
    """Run, run again, and score again."""
    manifest = write_clips(folder / f"clips-{clips}", clips)
    store, results = folder / f"store-{clips}", folder / f"results-{clips}"
    places = ("--cache", str(store), "--output", str(results))
    evaluate = ("eval", *RUN, "--data", str(manifest), *places)
    kept = folder / f"run-{clips}.json"
    if kept.exists():
        first = Cost(**json.loads(kept.read_text("utf-8")))
    else:
        first = run(evaluate, clips, "run")
        kept.write_text(json.dumps(asdict(first)), "utf-8")
    score = ("score", str(results), "--cache", str(store), "--output", str(folder / "rescored"))
    try:
        return [first, run(evaluate, clips, "run again"), run(score, clips, "score")]
    finally:
        shutil.rmtree(folder / "rescored", ignore_errors=True)


def report(costs: Sequence[Cost]) -> str:
    """Return the table, and what follows from it."""
    lines = [
        "# Many clips in one command",
        "",
        "`python perf/scale.py`: clips of one second, xbench-tiny, two methods, two metrics, `spes-encoder` of one block",
        "(500 masks), one thread. CPU seconds of each command, imports and loading of the model included.",
        "",
        "| Command | Clips | CPU s | CPU ms per clip more | Peak memory, MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in ("run", "run again", "score"):
        rows = [cost for cost in costs if cost.command == name]
        for before, cost in zip([None, *rows], rows, strict=False):
            more = before and 1000 * (cost.seconds - before.seconds) / (cost.clips - before.clips)
            each = "" if more is None else f"{more:.2f}"
            lines.append(
                f"| {name} | {cost.clips:,} | {cost.seconds:.1f} | {each} | {cost.megabytes:.0f} |"
            )
    again = [c for c in costs if c.clips == TARGET_CLIPS and c.command != "run"]
    for cost in again:
        met = "met" if cost.seconds <= TARGET_SECONDS else "not met"
        lines += ["", f"Target, `{cost.command}` of {cost.clips:,} clips under 5 s: {met}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write the report when all is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", default=f"300,{TARGET_CLIPS}")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    counts = [int(text) for text in given.clips.split(",")]
    with tempfile.TemporaryDirectory(prefix="xbench-scale-") as temporary:
        folder = given.folder or Path(temporary)
        costs = [cost for count in counts for cost in measured(folder, count)]
    text = report(costs)
    print(text)
    if given.clips == parser.get_default("clips"):
        (HERE / "scale.md").write_text(text, "utf-8")
        (HERE / "scale.json").write_text(
            json.dumps([asdict(cost) for cost in costs], indent=1) + "\n", "utf-8"
        )


if __name__ == "__main__":
    main()
