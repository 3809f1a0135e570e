"""Blocks of masks as units of work: a killed utterance loses one, several processes share one utterance."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xbench import Call, ExecutionOptions, RunResult, RunSpec, evaluate
from xbench.case import Case
from xbench.hiding.batching import Start, batched_measure
from xbench.hiding.effect import Shift
from xbench.hiding.segments import frame_segments
from xbench.leases import lease
from xbench.models.metered import MeteredModel
from xbench.references import blocks
from xbench.references.blocks import Superseded, Unit
from xbench.references.estimation import Recipe, Sampling, estimate
from xbench.references.sampled import SampledReference
from xbench.runner import stages
from xbench.runner.blocks import KeptBlocks
from xbench.store import Key, Store
from xbench.testing.planted import Planted

BLOCK = 24
MASKS = 5 * BLOCK
BATCH = 16


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "Sampling", partial(Sampling, block=BLOCK))
    monkeypatch.setattr("xbench.runner.blocks.KEPT_FROM_SECONDS", 0.0)


@pytest.fixture
def spec(tiny_whisper_folder: Path, make_manifest: Callable[..., Path]) -> RunSpec:
    return RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=(Call("mean-heads"),),
        tasks=("asr",),
        data=str(make_manifest({"a": 0.6})),
        masks=MASKS,
        metrics=(Call("pearson"),),
    )


@pytest.fixture
def options(tmp_path: Path) -> ExecutionOptions:
    return ExecutionOptions(str(tmp_path / "results"), str(tmp_path / "cache"), "cpu", BATCH)


def timeless(value: Any) -> Any:
    """Return all of a result but when and how fast it was made."""
    if isinstance(value, RunResult):
        value = {k: v for k, v in asdict(value).items() if k != "provenance"}
    if isinstance(value, dict):
        left_out = ("seconds", "seconds_per_audio_second", "peak_memory_bytes")
        return {k: timeless(v) for k, v in value.items() if k not in left_out}
    return [timeless(v) for v in value] if isinstance(value, list | tuple) else value


def blocks_in(options: ExecutionOptions) -> int:
    return Store(Path(options.cache or "")).summary()["block"]["artefacts"]


# -- one after another ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "batch", "kept"),
    [("fast", 16, 3), ("fast", 49, 1), ("paper", 16, 4), ("paper", 49, 1)],
)
def test_a_killed_run_loses_one_unit_and_comes_to_the_same_result(
    spec: RunSpec,
    options: ExecutionOptions,
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
    batch: int,
    kept: int,
) -> None:
    spec = replace(spec, preset=preset)
    options = replace(options, batch_size=batch)
    (straight,) = evaluate(spec, replace(options, cache=f"{options.cache}-straight"))
    measured: list[tuple[str, int]] = []
    original = KeptBlocks.measured

    def killed(own: KeptBlocks, part: str, unit: Unit, shift: Shift, *, keep: bool) -> None:
        if len(measured) == kept:
            raise KeyboardInterrupt  # the passes of this unit were made and are lost
        original(own, part, unit, shift, keep=keep)
        measured.append((part, unit.first))

    with monkeypatch.context() as patch:
        patch.setattr(KeptBlocks, "measured", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(spec, options)
    before, measured[:] = list(measured), []

    def noted(own: KeptBlocks, part: str, unit: Unit, shift: Shift, *, keep: bool) -> None:
        original(own, part, unit, shift, keep=keep)
        measured.append((part, unit.first))

    monkeypatch.setattr(KeptBlocks, "measured", noted)
    (resumed,) = evaluate(spec, options)
    until = preset == "fast"
    each = len(list(blocks.units(MASKS, BLOCK, until=until, size=lambda: batch)))
    assert each == {16: 5, 49: 4 if until else 2}[batch]
    assert len(before) + len(measured) == 2 * each  # two references
    assert not set(before) & set(measured)
    assert timeless(resumed) == timeless(straight)
    assert blocks_in(options) == 0


def test_the_blocks_of_an_unfinished_reference_are_in_the_store_until_it_is_whole(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "_NEXT_LOOK", 1.0)
        patch.setattr(Store, "drop", lambda own, key: None)
        evaluate(spec, options)
    # Of each of two references: how passes are run, and all blocks but the last.
    assert blocks_in(options) == 2 * (1 + 4)
    Store(Path(options.cache or "")).sweep()
    assert blocks_in(options) == 0


def test_blocks_that_took_less_than_writing_them_are_not_kept(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xbench.runner.blocks.KEPT_FROM_SECONDS", 60.0)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "drop", lambda own, key: None)
        (quick,) = evaluate(spec, options)
    assert blocks_in(options) == 2  # how the passes of two references are run
    monkeypatch.setattr("xbench.runner.blocks.KEPT_FROM_SECONDS", 0.0)
    (kept,) = evaluate(spec, replace(options, cache=f"{options.cache}-kept"))
    assert timeless(quick) == timeless(kept)


def test_no_worker_measures_a_quick_block_twice(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xbench.runner.blocks.KEPT_FROM_SECONDS", 60.0)
    recipe, store, found = Recipe(6 * BLOCK, 0.5), Store(tmp_path), list[Any]()
    measured: list[int] = []
    original = KeptBlocks.measured

    def noted(own: KeptBlocks, part: str, unit: Unit, shift: Shift, *, keep: bool) -> None:
        measured.append(unit.first // BLOCK)
        original(own, part, unit, shift, keep=keep)

    monkeypatch.setattr(KeptBlocks, "measured", noted)
    holder = KeptBlocks(
        store, Key("reference", {"of": "test"}), MeteredModel(case.model), lambda: None
    )
    unit = Unit(BLOCK, BLOCK, BLOCK, look=False, last=False)
    waiting = threading.Thread(target=worker, args=(case, store, recipe, found))
    with holder.lease("of it", unit):  # another process is at the second block
        waiting.start()
        while len(measured) < 5:
            time.sleep(0.01)
    waiting.join(60)
    assert measured == [0, 2, 3, 4, 5, 1]
    assert sum(found[0].masks) == 6 * BLOCK


def test_passes_are_chosen_once(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[str] = []
    original = KeptBlocks.choose

    def choose(own: KeptBlocks, part: str, facts: Any) -> None:
        chosen.append(part)
        original(own, part, facts)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(KeptBlocks, "choose", choose)
    with monkeypatch.context() as patch:
        patch.setattr(KeptBlocks, "measured", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(spec, options)
    assert len(chosen) == 1
    (result,) = evaluate(spec, options)
    assert len(chosen) == 2  # of the other reference
    assert {r.name for r in result.references} == {"spes-encoder", "spes-input"}


def test_a_damaged_block_is_measured_again(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    (straight,) = evaluate(spec, replace(options, cache=f"{options.cache}-straight"))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "drop", lambda own, key: None)
        evaluate(spec, options)
    for path in (Path(options.cache or "") / "block").rglob("*.npz"):
        path.write_bytes(b"damaged")
    for path in (Path(options.cache or "") / "reference").rglob("*.*"):
        path.unlink()
    with pytest.warns(UserWarning, match="it is made again"):
        (again,) = evaluate(spec, options)
    assert timeless(again) == timeless(straight)


# -- together -------------------------------------------------------------------------------------

TOKENS, FRAMES = 3, 20


@pytest.fixture
def case(planted: Planted, case_of: Callable[..., Case]) -> Case:
    pieces = tuple((i,) for i in range(TOKENS))
    return case_of(replace(planted, total=FRAMES, frames=pieces))


def slow(hidden: torch.Tensor) -> Shift:
    time.sleep(0.02)
    m = hidden.flatten(1).float()
    return Shift(
        m[:, :TOKENS] * torch.arange(1.0, 1 + TOKENS) + m.sum(1, keepdim=True), m[:, :TOKENS] > 0
    )


def worker(case: Case, store: Store, recipe: Recipe, found: list[Any]) -> None:
    kept = KeptBlocks(
        store, Key("reference", {"of": "test"}), MeteredModel(case.model), lambda: None
    )
    sampling = Sampling(block=BLOCK, blocks=kept)
    segments, measure = frame_segments(FRAMES), batched_measure(slow, Start(BATCH))
    try:
        reference = estimate(
            measure, segments, case, sampling, recipe, neutral="zero vector", part="of it"
        )
    except Superseded:
        found.append(None)
    else:
        store.put(kept.reference, *reference.to_artefact())
        found.append(reference)
    kept.drop()


@pytest.mark.parametrize("until", [None, 0.9])
def test_several_workers_share_one_utterance(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: float | None
) -> None:
    recipe = Recipe(20 * BLOCK, 0.5, until=until)
    alone: list[SampledReference] = []
    worker(case, Store(tmp_path / "alone"), recipe, alone)
    measured: list[int] = []
    original = KeptBlocks.measured

    def noted(own: KeptBlocks, part: str, unit: Unit, shift: Shift, *, keep: bool) -> None:
        measured.append(unit.first)
        original(own, part, unit, shift, keep=keep)

    monkeypatch.setattr(KeptBlocks, "measured", noted)
    found: list[Any] = []
    store = Store(tmp_path / "shared")
    threads = [threading.Thread(target=worker, args=(case, store, recipe, found)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    wholes = [each for each in found if each is not None]
    assert wholes
    for whole in wholes:
        np.testing.assert_array_equal(whole.sums, alone[0].sums)
        np.testing.assert_array_equal(whole.kept, alone[0].kept)
        assert (whole.masks, whole.converged) == (alone[0].masks, alone[0].converged)
    drawn = sum(alone[0].masks) // BLOCK
    assert set(range(drawn)) <= {first // BLOCK for first in measured}
    # Each block once; beyond the end of `until`, and at the end, each worker may have been at one more.
    assert len(measured) <= drawn + 4
    assert store.summary()["block"]["artefacts"] <= 2


def test_who_waits_for_a_process_that_is_gone_takes_over(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(blocks, "_PATIENCE_UNITS", 1.0)
    recipe, store, found = Recipe(4 * BLOCK, 0.5), Store(tmp_path), list[Any]()
    holder = KeptBlocks(
        store, Key("reference", {"of": "test"}), MeteredModel(case.model), lambda: None
    )
    unit = Unit(BLOCK, BLOCK, BLOCK, look=False, last=False)
    with holder.lease("of it", unit) as held:  # by a process that lives, and hangs
        assert held
        worker(case, store, recipe, found)
    assert sum(found[0].masks) == 4 * BLOCK


# -- leases ---------------------------------------------------------------------------------------


def test_a_lease_is_held_by_one_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "a" / ".lease-x"
    with lease(path) as first, lease(path) as second:
        assert (first, second) == (True, False)
        assert path.exists()
    assert not path.exists()
    with lease(path) as again:
        assert again


def test_the_lease_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / ".lease-x"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.write_text(f"{socket.gethostname()} {gone.pid}")
    with lease(path) as taken:
        assert taken
        assert path.read_text() == f"{socket.gethostname()} {os.getpid()}"
    path.write_text("another-host 1")
    with lease(path) as taken:
        assert not taken
    old = time.time() - 4000
    os.utime(path, (old, old))
    with lease(path) as taken:
        assert taken


def test_who_lost_a_lease_leaves_it_to_the_one_who_took_it_over(tmp_path: Path) -> None:
    path = tmp_path / ".lease-x"
    with lease(path) as held:
        assert held
        path.write_text("elsewhere 77")  # it had become very old
    assert path.read_text() == "elsewhere 77"
    path.write_text(f"{socket.gethostname()} \u00b2")  # a digit, and no number
    with lease(path) as taken:
        assert not taken


def test_a_lease_cut_off_while_it_was_written_does_not_last(tmp_path: Path) -> None:
    path = tmp_path / ".lease-x"
    path.write_text("")
    with lease(path) as taken:
        assert not taken
    old = time.time() - 120
    os.utime(path, (old, old))
    with lease(path) as taken:
        assert taken
