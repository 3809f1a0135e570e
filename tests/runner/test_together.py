"""The same results, whoever does the work: one process, several, a cluster, parts, killed and resumed."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from xbench import Call, ExecutionOptions, RunResult, RunSpec, evaluate
from xbench.errors import EnvironmentProblem, UsageError
from xbench.results import Failure, load_results
from xbench.runner.crew import Crew, Died
from xbench.runner.desk import Answer, Desk, Told, Work, order_for
from xbench.runner.outcome import Known
from xbench.runner.plan import prepare
from xbench.runner.processes import _shares
from xbench.runner.progress import SILENT
from xbench.runner.ray_actors import Needs, needs_of
from xbench.runner.shard import run_shard
from xbench.spec import Shard
from xbench.store import Store

MASKS = 1500  # three blocks
METHODS = (
    "mean-heads",
    "best-head",
    "shuffled",
)  # one that learns, one that compares with another clip

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs ray: pip install 'xbench[ray]'"
)


@pytest.fixture(scope="module")
def spec(
    tiny_whisper_folder: Path,
    clip: Callable[..., np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> RunSpec:
    """Four clips, of which one cannot be read."""
    folder = tmp_path_factory.mktemp("clips")
    lines = []
    for number, name in enumerate("abcd"):
        if name == "c":
            (folder / "c.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt garbage")
        else:
            soundfile.write(folder / f"{name}.wav", clip(0.5 + number / 10, number), 16_000)
        line = {"id": name, "audio": f"{name}.wav", "language": "en", "transcript": "one"}
        lines.append(json.dumps(line))
    (folder / "clips.jsonl").write_text("\n".join(lines))
    return RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=METHODS,
        tasks=("asr",),
        data=str(folder / "clips.jsonl"),
        references=(Call.make("spes-encoder", {"until": 0.999, "masks": MASKS}),),
        metrics=("pearson", "sensitivity-n"),
    )


def options_in(folder: Path, **given: Any) -> ExecutionOptions:
    return ExecutionOptions(str(folder / "results"), str(folder / "cache"), "cpu", 50, **given)


def timeless(value: Any) -> Any:
    """Return all of results but when and how fast they were made."""
    if isinstance(value, RunResult):
        value = {k: v for k, v in asdict(value).items() if k != "provenance"}
    if isinstance(value, dict):
        left_out = ("seconds", "seconds_per_audio_second", "peak_memory_bytes")
        return {k: timeless(v) for k, v in value.items() if k not in left_out}
    return [timeless(v) for v in value] if isinstance(value, list | tuple) else value


@pytest.fixture(scope="module")
def alone(spec: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> list[RunResult]:
    """Return the results of one process."""
    results = evaluate(spec, options_in(tmp_path_factory.mktemp("alone")))
    assert [result.status for result in results] == ["partial"] * 3  # a clip fails
    assert [failure.id for failure in results[0].failures] == ["c"]
    return results


def test_parts_and_a_last_run_give_the_same_results(
    spec: RunSpec, alone: list[RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_in(tmp_path)
    done = [run_shard(prepare(spec), options, Shard(i, 3), SILENT) for i in (3, 1, 2)]
    assert [each.utterances for each in done] == [1, 2, 1]
    assert [failure.id for each in done for failure in each.failures] == ["c"]
    assert not (tmp_path / "results").exists()
    assert Store(tmp_path / "cache").summary()["reference"]["artefacts"] == 3

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a part has done that")

    from xbench.references import spes

    monkeypatch.setattr(spes, "spes_encoder", refuse)
    assert timeless(evaluate(spec, options)) == timeless(alone)


def test_another_batch_size_changes_no_score_beyond_rounding(
    spec: RunSpec, alone: list[RunResult], tmp_path: Path
) -> None:
    results = evaluate(spec, replace(options_in(tmp_path), batch_size=17))
    for result, other in zip(results, alone, strict=True):
        for score, expected in zip(result.scores, other.scores, strict=True):
            assert score.value == pytest.approx(expected.value, abs=1e-5)


def test_in_half_precision_another_batch_size_stays_within_the_stated_bound(
    spec: RunSpec, tmp_path: Path
) -> None:
    half = Call.make("spes-encoder", {"masks": 1000, "until": 0.999, "precision": "bfloat16"})
    spec = replace(spec, references=(half,), methods=("mean-heads",), metrics=("pearson",))
    few, many = (
        evaluate(spec, replace(options_in(tmp_path / str(size)), batch_size=size))[0]
        for size in (17, 50)
    )
    for score, expected in zip(many.scores, few.scores, strict=True):
        assert score.value == pytest.approx(expected.value, abs=2e-3)


@pytest.mark.slow
def test_processes_give_the_same_results(
    spec: RunSpec, alone: list[RunResult], tmp_path: Path
) -> None:
    results = evaluate(spec, options_in(tmp_path, workers=2))
    assert timeless(results) == timeless(alone)
    assert timeless(load_results(tmp_path / "results")) == timeless(sorted_by_path(alone))
    assert Store(tmp_path / "cache").summary()["block"]["artefacts"] == 0


def sorted_by_path(results: list[RunResult]) -> list[RunResult]:
    return sorted(results, key=lambda result: str(result.path()))


@pytest.fixture
def cluster() -> Iterator[Callable[[int], None]]:
    """Return the function that starts a cluster of so many processors on this machine."""
    import ray

    def start(processors: int) -> None:
        ray.init(
            num_cpus=processors, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )

    yield start
    ray.shutdown()


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of ray
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_cluster_gives_the_same_results(
    spec: RunSpec,
    alone: list[RunResult],
    tmp_path: Path,
    cluster: Callable[[int], None],
    workers: int,
) -> None:
    cluster(workers)
    results = evaluate(spec, options_in(tmp_path, executor="ray", workers=workers))
    assert timeless(results) == timeless(alone)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_runs_killed_at_random_moments_come_to_the_same_results(
    spec: RunSpec, alone: list[RunResult], tmp_path: Path, seed: int
) -> None:
    command = [
        *(sys.executable, "-m", "xbench", "eval", "--model", str(spec.model)),
        *(f"--method={method}" for method in METHODS),
        *("--data", str(spec.data), "--reference", f"spes-encoder:masks={MASKS},until=0.999"),
        *("--metric", "pearson", "--metric", "sensitivity-n", "--batch-size", "50"),
        *("--device", "cpu", "--output", str(tmp_path / "r"), "--cache", str(tmp_path / "cache")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    moments = random.Random(seed)
    for _ in range(3):
        run = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        waited_for = time.monotonic() + 120
        while not (tmp_path / "cache" / "hypothesis").exists() and time.monotonic() < waited_for:
            time.sleep(0.1)  # the imports are over
        time.sleep(moments.uniform(0, 3))
        run.send_signal(signal.SIGKILL)
        run.wait()
    last = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=600)
    assert last.returncode == 1, last.stderr  # a clip cannot be read
    found = timeless(load_results(tmp_path / "r"))
    assert found == timeless(sorted_by_path(alone))
    assert Store(tmp_path / "cache").verify() == []


# -- who gets what --------------------------------------------------------------------------------


def test_parts_are_read_and_refused() -> None:
    assert Shard.parse("2/8").part("abcdefghij") == "bj"
    assert "".join(x for i in (1, 2, 3) for x in Shard(i, 3).part("abcdefgh")) == "adgbehcf"
    for wrong in ("0/3", "4/3", "2", "a/b", "1/0", "-1/2", "1/2/3", "²/3"):
        with pytest.raises(UsageError, match="is not I/N"):
            Shard.parse(wrong)


def test_what_other_processes_cannot_be_given_is_told(spec: RunSpec) -> None:
    def own(trace: Any) -> Any:
        return trace.cross_attention.mean((0, 1))

    with pytest.raises(UsageError, match=r"'own' is a function of this session.*FILE.py:NAME"):
        order_for(prepare(replace(spec, methods=(own,))), ExecutionOptions(workers=2))
    with pytest.raises(UsageError, match="--fresh goes with one local worker"):
        order_for(prepare(spec), ExecutionOptions(workers=2, fresh=True))


def test_gpus_are_divided_among_processes() -> None:
    assert _shares([], 2, None) == [None, None]
    assert _shares(["0", "1"], 2, None) == ["0", "1"]
    assert _shares(["0", "1"], 3, None) == ["0", "1", "0"]
    assert _shares(["4", "5"], 4, 0.5) == ["4", "4", "5", "5"]
    assert _shares(["0", "1", "2", "3"], 2, 2) == ["0,1", "2,3"]
    with pytest.raises(UsageError, match="this machine has 1"):
        _shares(["0"], 1, 2)


def test_the_resources_of_a_cluster_are_divided_among_actors() -> None:
    cpu, gpu = {"CPU": 16.0}, {"CPU": 32.0, "GPU": 4.0}
    given = ExecutionOptions(executor="ray")
    assert needs_of(given, [gpu, gpu]) == Needs(8, 1, 1.0)
    assert needs_of(replace(given, gpus_per_worker=0.5), [gpu]) == Needs(8, 1, 0.5)
    assert needs_of(replace(given, workers=2, gpus_per_worker=2), [gpu]) == Needs(2, 1, 2)
    assert needs_of(given, [cpu, cpu]) == Needs(2, 16, 0.0)
    assert needs_of(replace(given, workers=3), [cpu, cpu]) == Needs(3, 8, 0.0)
    assert needs_of(replace(given, device="cpu", workers=4), [gpu]) == Needs(4, 8, 0.0)
    with pytest.raises(UsageError, match="room for 4"):
        needs_of(replace(given, workers=5), [gpu])
    with pytest.raises(UsageError, match="room for 16"):
        needs_of(replace(given, workers=17), [cpu])


# -- what goes wrong ------------------------------------------------------------------------------


class Hand:
    """A process that fails at what it is told to fail at; others may do it."""

    def __init__(self, dies: str = "", fails: str = "") -> None:
        self.dies, self.fails, self.asked, self.stopped = dies, fails, list[Any](), False

    def ask(self, question: str, *arguments: Any) -> Answer:
        time.sleep(0.01)
        self.asked.append(arguments[0] if arguments else question)
        if question == "settle":
            return Answer((), ("a note",))
        if question == "finish":
            (known, _) = arguments
            self.known: Known = known
            return Answer([])
        if question == "start":
            return Answer()
        (work, _) = arguments
        if work.id and work.id == self.dies:
            raise Died
        if work.id and work.id == self.fails and work.stage == "reference":
            return Answer(Told(work, Failure(work.id, "out-of-memory", "too long")))
        return Answer(Told(work))

    def stop(self) -> None:
        self.stopped = True


def test_an_utterance_over_which_processes_die_fails_alone(spec: RunSpec) -> None:
    hands = [Hand(dies="b"), Hand(dies="b")]
    Crew(hands, SILENT).run(prepare(replace(spec, methods=("mean-heads",))))
    (known,) = (hand.known for hand in hands if hasattr(hand, "known"))
    (failure,) = known.failures["asr"].values()
    assert (failure.id, failure.reason) == ("b", "worker-died")
    later = [w for hand in hands for w in hand.asked if isinstance(w, Work) and w.stage != "decode"]
    assert {work.id for work in later} == set("acd")


def test_an_utterance_is_done_where_one_process_could(spec: RunSpec) -> None:
    hands = [Hand(fails="d"), Hand()]
    crew = Crew(hands, SILENT)
    works = [Work("reference", "asr", "d")]
    assert crew._stage(works, share=True)[works[0]].failure is None
    assert crew._stage(works, share=False)[works[0]].failure is not None or hands[1].asked


def test_a_process_that_cannot_start_ends_the_run_in_a_sentence(spec: RunSpec) -> None:
    class Dead(Hand):
        def ask(self, question: str, *arguments: Any) -> Answer:
            raise Died

    hands = [Hand(), Dead()]
    with pytest.raises(EnvironmentProblem, match=r"died over 'start'.*fewer --workers"):
        Crew(hands, SILENT).run(prepare(spec))
    assert all(hand.stopped for hand in hands)


def test_problems_come_back_as_what_they_are(spec: RunSpec, tmp_path: Path) -> None:
    order = order_for(prepare(spec), options_in(tmp_path))
    folder = Path.cwd()
    missing = replace(order, options=replace(order.options, device="cuda:77"))
    try:
        answer = Desk(missing).answer("start")
        with pytest.raises((UsageError, EnvironmentProblem)):
            answer.get()
        odd = Desk(order).answer("do", Work("decode", "asr", "nobody"))
        with pytest.raises(RuntimeError, match="KeyError"):
            odd.get()
    finally:
        os.chdir(folder)
