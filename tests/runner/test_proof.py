"""A few blocks of masks, drawn again, tell a reference that was measured from one that was made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xbench import Call, ExecutionOptions, RunResult, RunSpec, evaluate
from xbench.errors import UsageError
from xbench.hiding.segments import frame_segments
from xbench.packs import make_pack, named
from xbench.references.sampled import SampledReference
from xbench.results.checked import read_checks
from xbench.runner.bench import Bench, bench_of
from xbench.runner.plan import Plan, prepare
from xbench.runner.progress import SILENT
from xbench.runner.proof import blocks_of, draw_again, furthest
from xbench.store import Key, Store

MASKS = 1100  # blocks of 500, 500 and 100


@pytest.fixture
def spec(tiny_whisper_folder: Path, make_manifest: Callable[..., Path]) -> RunSpec:
    return RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=(Call("diagonal"),),
        tasks=("asr",),
        data=str(make_manifest({"a": 0.5})),
        references=(
            Call.make("spes-encoder", {"masks": MASKS, "until": 0.999, "precision": "float32"}),
        ),
        metrics=(Call("pearson"),),
    )


@pytest.fixture
def made(spec: RunSpec, tmp_path: Path) -> tuple[RunResult, Plan, Bench]:
    options = ExecutionOptions(str(tmp_path / "r"), str(tmp_path / "cache"), "cpu")
    (result,) = evaluate(spec, options)
    plan = prepare(spec)
    return result, plan, bench_of(plan, options)


def forge(bench: Bench, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Change the stored reference as somebody would who knows all its checksums."""
    folder = bench.store.folder / "reference"
    (record,) = folder.rglob("*.json")
    ingredients = json.loads(record.read_text())["ingredients"]
    key = Key(ingredients.pop("kind"), ingredients)
    stored = bench.store.get(key)
    assert stored is not None
    arrays = {name: array.copy() for name, array in stored.arrays.items()}
    change(arrays)
    bench.store.put(key, arrays, stored.facts)


def test_blocks_that_were_measured_agree_and_made_up_ones_do_not(
    made: tuple[RunResult, Plan, Bench],
) -> None:
    result, plan, bench = made
    stated = result.utterances
    drawn = draw_again(plan, bench, 10, SILENT, stated)
    assert [(row.id, row.block) for row in drawn] == [("a", 0), ("a", 1), ("a", 2)]
    assert all(row.agrees for row in drawn)
    assert blocks_of(stated, drawn) == 3
    assert len(draw_again(plan, bench, 1, SILENT, stated)) == 1

    def of_others(arrays: dict[str, np.ndarray]) -> None:
        arrays["block_sums"][1] = arrays["block_sums"][0]  # as plausible as can be

    forge(bench, of_others)
    assert [row.agrees for row in draw_again(plan, bench, 3, SILENT, stated)] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("column", ["masks@spes-encoder", "effect@spes-encoder"])
def test_a_reference_that_is_not_the_one_of_the_columns_is_told(
    made: tuple[RunResult, Plan, Bench], column: str
) -> None:
    result, plan, bench = made
    others = [
        [2 * e for e in row] if isinstance(row, list) else row + 4
        for row in result.utterances[column]
    ]
    (drawn,) = draw_again(plan, bench, 3, SILENT, {**result.utterances, column: others})
    assert (drawn.block, drawn.agrees) == (None, False)


def test_what_cannot_be_compared_is_told(made: tuple[RunResult, Plan, Bench]) -> None:
    result, plan, bench = made
    stated = result.utterances

    def without(arrays: dict[str, np.ndarray]) -> None:
        del arrays["block_sums"]

    forge(bench, without)
    with pytest.raises(UsageError, match="keeps no sums of blocks"):
        draw_again(plan, bench, 1, SILENT, stated)
    empty = replace(bench, store=Store(bench.store.folder / "elsewhere"))
    with pytest.raises(UsageError, match=r"has no spes-encoder of it.*--cache"):
        draw_again(plan, empty, 1, SILENT, stated)


@pytest.mark.parametrize(
    ("precision", "factor", "agrees"),
    [
        ("float32", 1 + 1e-4, True),
        ("float32", 1 + 2e-3, False),
        ("bfloat16", 1 + 2e-2, True),
        ("bfloat16", 1.5, False),
        ("float32", np.nan, False),
    ],
)
def test_the_precision_decides_what_rounding_explains(
    precision: str, factor: float, agrees: bool
) -> None:
    stored = np.array([1.0, 10.0, 5.0])

    recorded = SampledReference(
        segmentation=frame_segments(2),
        sums=np.zeros((2, 3, 2)),
        counts=np.zeros((2, 2), dtype=np.int64),
        masks=(1, 1),
        kept=np.zeros(3),
        neutral="zero",
        computation={"precision": precision},
    )
    assert (furthest(stored * factor, stored, recorded) <= 1) == agrees


def test_the_command_tells_what_it_found(
    made: tuple[RunResult, Plan, Bench], spec: RunSpec, tmp_path: Path, run: Any
) -> None:
    result, _, bench = made
    command = (
        *("verify", tmp_path / "r" / result.path(), "--model", spec.model, "--data", spec.data),
        *("--cache", tmp_path / "cache", "--blocks", 2, "--device", "cpu"),
    )
    done = run(*command)
    assert (done.code, done.err) == (0, "")
    assert "2 blocks measured again: 2 agree" in done.out
    assert "probability of 81 %" in done.out

    def none(arrays: dict[str, np.ndarray]) -> None:
        arrays["block_sums"] *= 1.1

    forge(bench, none)
    done = run(*command)
    assert done.code == 1
    assert "block" in done.err
    assert "times as far" in done.err


def test_a_pack_that_the_result_names_serves_those_who_have_no_store(
    made: tuple[RunResult, Plan, Bench], spec: RunSpec, tmp_path: Path, run: Any
) -> None:
    result, _, bench = made
    pack, site = tmp_path / "own.xpack", tmp_path / "submissions"
    site.mkdir()
    facts = make_pack([result], bench.store, pack, maps=True)
    file = named(result, pack, facts["sha256"]).write(tmp_path / "named")
    command = ("verify", file, "--pack", pack, "--record", site)
    sampled = (*command, "--model", spec.model, "--data", spec.data, "--blocks", 2)
    done = run(*sampled, "--device", "cpu", "--cache", tmp_path / "none")
    assert (done.code, done.err) == (0, "")
    assert run(*command, "--scores").code == 0
    assert not (tmp_path / "none").exists()
    recomputed, of_blocks = read_checks(site / "checked.csv")
    assert (recomputed.label, of_blocks.label) == ("recomputed", "sampled, 66 %")

    forged = json.loads(file.read_text())
    forged["utterances"]["pearson@spes-encoder"] = [0.9]
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    done = run("verify", tmp_path / "forged.json", "--pack", pack, "--record", site, "--scores")
    assert done.code == 1
    assert "pearson@spes-encoder: 0.9 in the file" in done.err
    assert len(read_checks(site / "checked.csv")) == 2


def test_a_pack_that_the_result_does_not_name_is_refused(
    made: tuple[RunResult, Plan, Bench], tmp_path: Path, run: Any
) -> None:
    result, _, bench = made
    make_pack([result], bench.store, tmp_path / "own.xpack")
    unnamed = tmp_path / "r" / result.path()
    done = run("verify", unnamed, "--pack", tmp_path / "own.xpack", "--scores")
    assert done.code == 2
    assert "names no pack" in done.err
    other = named(result, tmp_path / "own.xpack", "0" * 64).write(tmp_path / "other")
    done = run("verify", other, "--pack", tmp_path / "own.xpack", "--scores")
    assert done.code == 2
    assert "another pack than the result names" in done.err
