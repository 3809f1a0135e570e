"""`xbench pack` and `unpack`: what a run estimated, in one small file, and into another store. Thin."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option, Typer

from xbench.cli.options import AsJson, Cache, Device, Results
from xbench.cli.store import opened
from xbench.errors import UsageError

app = Typer()


@app.command("pack")
def pack_command(
    results: Results,
    out: Annotated[Path, Option(metavar="PACK", help="File to write.")],
    maps: Annotated[
        bool, Option("--maps", help="Also what scoring again without the model needs.")
    ] = False,
    mark: Annotated[
        bool, Option("--mark", help="Name the pack in the result files, which are written again.")
    ] = False,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Put hypotheses and references of results into one file, so that others need not estimate them."""
    from xbench.cli import console
    from xbench.inputs import files_below
    from xbench.results import read_result
    from xbench.store import write_atomically

    files = [file for path in results for file in files_below(path, ".json")]
    if not files:
        raise UsageError(f"{results[0]} holds no result file")
    given = [read_result(file) for file in files]
    from xbench.packs import make_pack, named

    facts = make_pack(given, opened(cache), out, maps=maps)
    if mark:
        for file, result in zip(files, given, strict=True):
            write_atomically(file, named(result, out, facts["sha256"]).to_json().encode())
    if as_json:
        console.emit_json(facts)
        return
    shown: dict[str, Any] = {
        "pack": str(out),
        "size": f"{facts['bytes'] / 1e6:.2f} MB",
        "sha256": facts["sha256"],
        **facts["artefacts"],
        "numbers": "16 bits" if facts["compact"] else "as they were stored",
        "scores move by": f"{facts['moved']:.1e} at most in 16 bits",
    }
    console.show_facts(shown)


@app.command("unpack")
def unpack_command(
    pack: Annotated[Path, Argument(help="Pack that `xbench pack` made.")],
    cache: Cache = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Put a pack into the store: runs on its clips and model then find hypotheses and references there."""
    from xbench.cli import console
    from xbench.models.loading import device_named
    from xbench.packs import open_pack

    store = opened(cache)
    found = open_pack(pack, store, device_named(device))
    if as_json:
        console.emit_json(asdict(found))
        return
    model = found.facts["model"]
    console.show_facts(
        {
            "store": str(store.folder),
            "model": f"{model['name']} ({model['revision'][:12]})",
            "tasks": ", ".join(sorted({run["task"] for run in found.facts["runs"]})),
            "added": ", ".join(f"{n} of kind {kind}" for kind, n in found.added.items())
            or "nothing",
            "there already": found.present,
        }
    )
    if found.other:
        console.say(f"made with other versions than this machine's: {'; '.join(found.other)}")
