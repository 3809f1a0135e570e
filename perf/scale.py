"""Many clips in one command: does memory stay flat and time linear, and what does a finished run cost again?

    python perf/scale.py                      writes perf/scale.md and .json
    python perf/scale.py --clips 20,40        prints only
    python perf/scale.py --again 1500,10000   how many clips the finished runs have that are repeated

Clips are cut out of the packaged test clips, each one second long. The run is the cheapest that has all stages:
xbench-tiny, two methods, `spes-encoder` of 60 masks. It is measured at two sizes. What a finished run costs again needs
no passes, so its store is filled with copies: each clip differs from one of the measured clips in a single sample, and
has that clip's artefacts under its own keys. Each command is a process of its own, with one thread; times are CPU
seconds, which a shared machine disturbs less than wall time, and memory is the largest resident set.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import soundfile

from xbench.data.demo import demo_manifest
from xbench.spec import Call, ExecutionOptions, RunSpec

HERE = Path(__file__).parent
SECONDS = 1.0
TARGET_CLIPS, TARGET_SECONDS = 1_500, 5.0
MANY = 10_000  # for which costs are calculated
METHODS = (Call("mean-heads"), Call.make("diagonal", {"width": 0.2}))
REFERENCE = Call.make("spes-encoder", {"masks": 60})
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
    return _manifest(folder, written)


def _manifest(folder: Path, lines: Sequence[dict[str, Any]]) -> Path:
    file = folder / "clips.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return file


def spec_of(manifest: Path) -> RunSpec:
    """Return the run on these clips."""
    return RunSpec(
        model="xbench-tiny",
        methods=METHODS,
        tasks=("asr",),
        data=str(manifest),
        references=(REFERENCE,),
        metrics=METRICS,
    )


def evaluate(folder: Path, manifest: Path) -> list[str]:
    """Return the command of the run on these clips, whose store and results lie in a folder."""
    named = [
        *(("--method", str(call)) for call in METHODS),
        *(("--metric", name) for name in METRICS),
        ("--reference", str(REFERENCE)),
        ("--data", str(manifest)),
        ("--cache", str(folder / "store")),
        ("--output", str(folder / "results")),
    ]
    command = ["eval", "--model", "xbench-tiny", "--device", "cpu"]
    return command + [text for pair in named for text in pair]


def copies(folder: Path, source: Path, count: int) -> None:
    """Fill a store as a run on so many clips would, from the store of a smaller run.

    To be called in a process of its own: a child's largest resident set is at least that of who starts it.
    """
    from xbench.runner import record, stages
    from xbench.runner.bench import bench_of
    from xbench.runner.keys import Job, Spoken, hypothesis_key, map_key, reference_key
    from xbench.runner.plan import Method, prepare

    clips = folder / "clips"
    clips.mkdir(parents=True)
    lines = [json.loads(x) for x in (source / "clips.jsonl").read_text("utf-8").splitlines()]
    own = []
    for number in range(count):
        line = lines[number % len(lines)]
        sound, rate = soundfile.read(source / line["audio"])
        sound[0] += (number + 1) / 2**15  # one step of 16 bits per copy
        soundfile.write(clips / f"{number}.wav", sound, rate)
        own.append({**line, "id": str(number), "audio": f"{number}.wav"})
    manifest = _manifest(clips, own)
    (of_few,), (of_many,) = (prepare(spec_of(m)).tasks for m in (source / "clips.jsonl", manifest))
    spec = spec_of(manifest)
    few, many = (
        bench_of(prepare(spec), ExecutionOptions(cache=str(at / "store"), device="cpu"))
        for at in (source.parent, folder)
    )
    methods = [Method.registered(call) for call in (*METHODS, of_few.task.floor)]
    for number, utterance in enumerate(of_many.manifest.utterances):
        job = Job(of_many.task, utterance, spec.seed)
        like = Job(of_few.task, of_few.manifest.utterances[number % len(lines)], spec.seed)
        pairs = [(hypothesis_key(few.info, like), hypothesis_key(many.info, job))]
        decoded = stages.read_decoded(few.shelf, like)
        before, after = Spoken(like, decoded), Spoken(job, decoded)
        call = of_few.task.references[0]
        pairs += [(reference_key(few.info, before, call), reference_key(many.info, after, call))]
        pairs += [(map_key(few.info, before, m), map_key(many.info, after, m)) for m in methods]
        for old, new in pairs:
            stored = few.shelf.artefact(old)
            many.store.put(new, stored.arrays, stored.facts, durable=False)
    record.keep(many.store, of_many, many.info, spec)


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


def measured(folder: Path, counts: Sequence[int], again: Sequence[int]) -> list[Cost]:
    """Run at every size; then repeat finished runs, which writes their result files, and score them."""
    costs = []
    for count in counts:
        clips = write_clips(folder / str(count) / "clips", count)
        costs.append(run(evaluate(folder / str(count), clips), count, "run"))
    source = folder / str(counts[-1]) / "clips"
    repeated, scored = [], []
    for count in again:
        whole = folder / f"copies-{count}"
        filling = multiprocessing.get_context("spawn").Process(
            target=copies, args=(whole, source, count)
        )
        filling.start()
        filling.join()
        command = evaluate(whole, whole / "clips" / "clips.jsonl")
        repeated.append(run(command, count, "run again"))
        stored = ("--cache", str(whole / "store"), "--output", str(folder / "rescored"))
        scored.append(run(("score", str(whole / "results"), *stored), count, "score"))
    return [*costs, *repeated, *scored]


def report(costs: Sequence[Cost]) -> str:
    """Return the table, and what follows from it."""
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    lines = [
        "# Many clips in one command",
        "",
        "`python perf/scale.py`: clips of one second, xbench-tiny, two methods, two metrics, `spes-encoder` of 60",
        "masks, one thread. CPU seconds of each command, imports and loading of the model included; the finished runs",
        f"are made of copies, as the script says. Load of the machine at the end (1, 5, 15 minutes): {load}.",
        "",
        "| Command | Clips | CPU s | CPU ms per clip more | Peak memory, MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    before: Cost | None = None
    for cost in costs:
        same = before if before and before.command == cost.command else None
        more = same and 1000 * (cost.seconds - same.seconds) / (cost.clips - same.clips)
        each = "" if more is None else f"{more:.0f}"
        row = (
            cost.command,
            f"{cost.clips:,}",
            f"{cost.seconds:.1f}",
            each,
            f"{cost.megabytes:.0f}",
        )
        lines.append(f"| {' | '.join(row)} |")
        before = cost
    for cost in (c for c in costs if c.command != "run" and c.clips == TARGET_CLIPS):
        met = "met" if cost.seconds <= TARGET_SECONDS else "not met"
        lines += ["", f"Target, `{cost.command}` of 1,500 clips under 5 s: {met}."]
    lines += ["", f"Calculated from these, not measured, for {MANY:,} clips:", ""]
    for command in dict.fromkeys(cost.command for cost in costs):
        first, *_, last = (c for c in costs if c.command == command)
        more = (MANY - last.clips) / (last.clips - first.clips)
        minutes = (last.seconds + more * (last.seconds - first.seconds)) / 60
        megabytes = last.megabytes + more * (last.megabytes - first.megabytes)
        memory = f" and {megabytes:.0f} MB" if command != "run" else ""  # which batches decide
        lines.append(f"- {command}: {minutes:.1f} minutes of CPU time{memory}")
    lines += ["", BEFORE]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write the report when all is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", default="30,150")
    parser.add_argument("--again", default="1500,3000")
    given = parser.parse_args()
    clips, again = ([int(n) for n in text.split(",")] for text in (given.clips, given.again))
    with tempfile.TemporaryDirectory(prefix="xbench-scale-") as folder:
        costs = measured(Path(folder), clips, again)
    text = report(costs)
    print(text)
    if (given.clips, given.again) == (parser.get_default("clips"), parser.get_default("again")):
        (HERE / "scale.md").write_text(text, "utf-8")
        rows = json.dumps([asdict(cost) for cost in costs], indent=1) + "\n"
        (HERE / "scale.json").write_text(rows, "utf-8")


if __name__ == "__main__":
    main()
