"""`xbench verify`: a result of somebody else, held against what comes out here."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option, Typer

from xbench.cli.options import AsJson, Cache, Device
from xbench.cli.store import opened
from xbench.errors import UsageError
from xbench.inputs import RESULT_BYTES, read_plain
from xbench.spec import ExecutionOptions

if TYPE_CHECKING:
    from xbench.results import RunResult
    from xbench.results.checked import How
    from xbench.runner.proof import Drawn
    from xbench.runner.verify import Checked

app = Typer()


@app.command("verify")
def verify_command(
    result: Annotated[Path, Argument(help="Result file.")],
    sample: Annotated[
        int | None,
        Option(min=1, help="Only so many utterances (by the seed; for --blocks by chance)."),
    ] = None,
    model: Annotated[str | None, Option(help="Where a local model is.")] = None,
    data: Annotated[str | None, Option(metavar="MANIFEST", help="Its clips.")] = None,
    blocks: Annotated[
        int | None,
        Option(min=1, help="Only so many blocks of masks of each stored reference, at random."),
    ] = None,
    scores: Annotated[
        bool, Option("--scores", help="Only scores, from stored maps; loads no model.")
    ] = False,
    pack: Annotated[
        Path | None, Option(metavar="PACK", help="What the result was made from, as its pack.")
    ] = None,
    cache: Cache = None,
    device: Device = "auto",
    tolerance: Annotated[float, Option(min=0, help="Difference of scores allowed.")] = 0.01,
    record: Annotated[
        Path | None,
        Option(metavar="DIR", help="Note in DIR/checked.csv that it agreed; the site says so."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run utterances of a result again from nothing and compare hypotheses and scores.

    With --blocks, measure a few blocks of masks of its references again instead, which takes seconds; with --scores,
    compute its scores again. Both compare with the store, or with the pack that the result names.
    """
    from xbench.results import read_result

    if blocks is not None and scores:
        raise UsageError("--blocks and --scores are two checks; run them one after the other")
    if pack is not None and blocks is None and not scores:
        raise UsageError("--pack goes with --blocks or --scores; a run from nothing needs no pack")
    stated = read_result(result)
    with _store(stated, pack, cache, device) as folder:
        options = ExecutionOptions(cache=folder, device=device)
        if blocks is not None:
            part, whole = _blocks(stated, sample, model, data, blocks, options, as_json)
            how: How = "sampled"
        elif scores:
            part = whole = _scores(stated, folder, tolerance, as_json)
            how = "recomputed"
        else:
            part, whole = _again(stated, sample, model, data, device, tolerance, as_json)
            how = "re-run"
    if record is not None:
        said = _noted(result, record, how, part, whole)
        if not as_json:
            from xbench.cli import console

            console.say(said)


@contextmanager
def _store(
    result: "RunResult", pack: Path | None, cache: str | None, device: str
) -> Iterator[str | None]:
    """Give the folder of the store to compare with; of a pack, that of a store with nothing else in it."""
    if pack is None:
        yield cache
        return
    from xbench.models.loading import device_named
    from xbench.packs import open_pack
    from xbench.store import Store

    if result.pack is None:
        raise UsageError(
            "the result names no pack, so nothing says that this one is its own; `xbench pack --mark` writes the name"
        )
    with TemporaryDirectory(prefix="xbench-verify-") as folder:
        found = open_pack(pack, Store(Path(folder)), device_named(device))
        if found.sha256 != result.pack.sha256:
            raise UsageError(
                f"{pack} is another pack than the result names: its SHA-256 is {found.sha256[:12]}, not "
                f"{result.pack.sha256[:12]}"
            )
        yield folder


def _again(
    result: "RunResult",
    sample: int | None,
    model: str | None,
    data: str | None,
    device: str,
    tolerance: float,
    as_json: bool,
) -> tuple[int, int]:
    from xbench.cli import console
    from xbench.runner.verify import verify

    with console.ProgressReporter() as reporter:
        checked = verify(
            result,
            sample=sample,
            model=model,
            data=data,
            device=device,
            tolerance=tolerance,
            reporter=reporter,
        )
    return _tell(checked, "run again", as_json), len(result.utterances["id"])


def _scores(result: "RunResult", folder: str | None, tolerance: float, as_json: bool) -> int:
    from xbench.runner.verify import recomputed

    return _tell(recomputed(result, opened(folder), tolerance), "scored again", as_json)


def _tell(checked: "Sequence[Checked]", done: str, as_json: bool) -> int:
    """Say what agrees; return the number of utterances, or end with exit code 1."""
    from xbench.cli import console

    differing = [row for row in checked if not row.agrees]
    n = len({row.id for row in checked})
    if as_json:
        console.emit_json([asdict(row) for row in checked])
    else:
        for row in differing:
            console.error(f"{row.id}: {row.column}: {row.stored} in the file, {row.again} now")
        console.say(
            f"{n} utterances {done}: {len(checked) - len(differing)} of {len(checked)} values agree"
        )
    if differing:
        raise Exit(1)
    return n


def _blocks(
    result: "RunResult",
    sample: int | None,
    model: str | None,
    data: str | None,
    blocks: int,
    options: ExecutionOptions,
    as_json: bool,
) -> tuple[int, int]:
    import numpy as np

    from xbench.cli import console
    from xbench.runner.bench import bench_of
    from xbench.runner.proof import blocks_of, draw_again
    from xbench.runner.verify import plan_of

    # By nothing that whoever made the result could know.
    chance = np.random.default_rng()
    plan = plan_of(result, sample=sample, model=model, data=data, chance=chance)
    with console.ProgressReporter() as reporter:
        drawn = draw_again(plan, bench_of(plan, options), blocks, reporter, result.utterances)
    differing = [row for row in drawn if not row.agrees]
    if as_json:
        console.emit_json([{**asdict(row), "agrees": row.agrees} for row in drawn])
    else:
        for row in differing:
            console.error(_said(row))
        missed = 100 * 0.9 ** len(drawn)
        console.say(
            f"{len(drawn)} blocks measured again: {len(drawn) - len(differing)} agree; were a tenth of all blocks made "
            f"up, so many would miss them with a probability of {missed:.2g} %"
        )
    if differing:
        raise Exit(1)
    return len(drawn), blocks_of(result.utterances, drawn)


def _said(row: "Drawn") -> str:
    if row.block is None:
        return f"{row.id}: {row.reference}: it is not the reference that the columns of the result were made from"
    return (
        f"{row.id}: {row.reference}: block {row.block} is {row.furthest:.3g} times as far from what was measured now "
        "as rounding explains"
    )


def _noted(result: Path, folder: Path, how: "How", part: int, whole: int) -> str:
    """Note a check that agreed; return what was noted, and where."""
    from datetime import UTC, datetime
    from importlib.metadata import version

    from xbench.results.checked import FILE, Check, with_check
    from xbench.store import write_atomically

    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; --record is that of the results of a site")
    if not part:
        raise UsageError("nothing could be compared, so there is nothing to record")
    sha256 = hashlib.sha256(read_plain(result, RESULT_BYTES)).hexdigest()
    day = datetime.now(UTC).date().isoformat()
    check = Check(sha256, how, part, whole, version("xbench"), day)
    write_atomically(folder / FILE, with_check(folder / FILE, check))
    return f"{folder / FILE}: {check.label}"
