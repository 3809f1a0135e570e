"""The rules of the house that no type checker enforces: what may import what."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import xbench

ROOT = Path(xbench.__file__).parent
HEAVY = ("torch", "transformers", "captum", "skimage", "soundfile", "datasets", "ray", "matplotlib")


def loaded_after(code: str, watched: tuple[str, ...] = HEAVY) -> list[str]:
    """Run code in a fresh interpreter; return which of the watched packages it imported."""
    script = f"{code}\nimport sys\nprint([m for m in {watched!r} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found: list[str] = ast.literal_eval(run.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "module",
    [
        "xbench",
        "xbench.bundle",
        "xbench.cli",
        "xbench.registry",
        "xbench.schemas",
        "xbench.tasks",
        "xbench.results",
        "xbench.claims",
        "xbench.cli.validation",
        "xbench.spec",
        "xbench.errors",
        "xbench.store",
        "xbench.data.manifest",
        "xbench.data.prepare",
        "xbench.cli.replication",
        "xbench.cli.scaffold",
        "xbench.stats",
        "xbench.site.build",
        "xbench.site.check",
        "xbench.site.serve",
    ],
)
def test_torch_free_modules_import_nothing_heavy(module: str) -> None:
    assert loaded_after(f"import {module}") == []


LIGHT = """
Call ExecutionOptions FamilyDescription Layout MethodDescription MetricDescription Parameter ReferenceDescription
RunResult RunSpec Score Selection Unsupported UsageError UtteranceError load_model load_results method
"""


def test_names_of_torch_free_things_import_nothing_heavy() -> None:
    code = f"import xbench\nfor name in {LIGHT.split()!r}:\n    getattr(xbench, name)\n"
    assert loaded_after(code) == []
    assert "torch" in loaded_after("import xbench\nxbench.Trace\n")


def test_listing_every_description_and_task_imports_nothing_heavy() -> None:
    code = (
        "from xbench import registry, tasks\n"
        "for group in registry.ALL:\n"
        "    assert group.entries() and all(e.description for e in group.entries()), group.kind\n"
        "assert tasks.task_index()\n"
        "tasks.resolve_tasks(['core', 'demo', 'asr', 'st'])\n"
    )
    assert loaded_after(code) == []


def test_refusing_bad_usage_imports_nothing_heavy() -> None:
    code = (
        "import xbench.cli, sys\n"
        "sys.argv = ['xbench', 'eval', '--model', 'whisper-tny', '--method', 'mean-heads']\n"
        "try:\n"
        "    xbench.cli.main()\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 2, stop.code\n"
    )
    assert loaded_after(code) == []


# Each of these takes longer to import than a list takes to print.
SLOW = (*HEAVY, "numpy", "scipy", "jaxtyping", "pydantic", "jinja2", "huggingface_hub")
CHECKS_FILES = ("jsonschema", "xbench.data.manifest")
READS_REGISTRY = ("xbench.registry", "yaml")  # typer draws its help with rich


@pytest.mark.parametrize(
    ("command", "not_needed"),
    [
        ("--help", (*SLOW, *CHECKS_FILES, *READS_REGISTRY)),
        ("eval --help", (*SLOW, *CHECKS_FILES, *READS_REGISTRY)),
        ("version", (*SLOW, *CHECKS_FILES, "xbench.registry", "yaml")),
        ("list models", (*SLOW, *CHECKS_FILES)),
        ("list methods --json", (*SLOW, *CHECKS_FILES)),
        ("list metrics", (*SLOW, *CHECKS_FILES)),
        ("list references", (*SLOW, *CHECKS_FILES)),
        ("list datasets", (*SLOW, *CHECKS_FILES)),
        ("list tasks", (*SLOW, *CHECKS_FILES)),
        ("list plugins", (*SLOW, *CHECKS_FILES)),
        ("show model whisper-tiny", (*SLOW, *CHECKS_FILES)),
        ("show method alti", (*SLOW, *CHECKS_FILES)),
        ("show dataset librispeech", (*SLOW, *CHECKS_FILES)),
        ("show task core", SLOW),
        ("show task asr-en", (*SLOW, "xbench.data.manifest")),
    ],
)
def test_a_command_imports_only_what_it_works_with(
    command: str, not_needed: tuple[str, ...]
) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['xbench', *{command.split()!r}]\n"
        "from xbench.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
    )
    assert loaded_after(code, not_needed) == []


def test_who_lets_other_processes_compute_imports_nothing_that_loads_models() -> None:
    """Those that compute import it, each for itself, while the cluster starts."""
    code = "import xbench.runner.evaluate, xbench.runner.execute"
    assert loaded_after(code, ("transformers", "xbench.runner.worker")) == []


def test_showing_a_task_reads_no_other_task(monkeypatch: pytest.MonkeyPatch) -> None:
    from xbench.cli import listing
    from xbench.tasks import reading, strict_yaml

    read: set[str] = set()

    def noted(path: Path) -> strict_yaml.Document:
        read.add(path.name)
        return strict_yaml.read_yaml(path)

    monkeypatch.setattr(reading, "read_yaml", noted)
    listing.facts("task", "asr-en")
    assert {name for name in read if not name.startswith("_")} == {"asr-en.yaml"}


def test_the_check_for_heavy_imports_can_fail() -> None:
    assert loaded_after("import soundfile") == ["soundfile"]


# -- layers look down only ------------------------------------------------------------------------


def figures() -> Any:
    """Return scripts/layers.py as a module: it reads the import graph, and prints its figures for people."""
    path = ROOT.parents[1] / "scripts" / "layers.py"
    spec = importlib.util.spec_from_file_location("layers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LAYERS = figures()
GRAPH: dict[str, set[str]] = dict(LAYERS.module_graph(ROOT))

# From the top down: a room imports rooms of lower floors, and itself. A folder is a room, and so is each module that
# lies loose in the top folder.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("__init__", "plot"),
    ("decisions",),
    ("audit", "packs"),
    ("runner", "testing"),
    ("methods", "references"),
    ("hiding",),
    ("case",),
    ("fitting", "models"),
    ("site",),
    ("claims",),
    ("metrics", "trace", "data", "tasks"),
    ("registry", "results", "signatures"),
    ("bundle", "description", "maps", "store"),
    ("inputs", "leases", "misfits", "schemas", "spec", "stats", "surroundings"),
    ("authorship", "errors", "notebook", "process_settings"),
)
FLOOR = {room: number for number, rooms in enumerate(reversed(FLOORS)) for room in rooms}

# Where more is forbidden than the floors say: the site reads files of strangers, and nothing that makes them.
NEVER = {
    "site": {"metrics", "trace", "maps"},
    "errors": set(FLOOR),
    "spec": set(FLOOR) - {"errors"},
}


def test_every_room_has_a_floor() -> None:
    assert {LAYERS.room(module) for module in GRAPH} == set(FLOOR)


def looking_up(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the imports that do not look down."""
    return [
        f"{module} imports {target}"
        for module, targets in graph.items()
        for target in sorted(targets)
        if (own := LAYERS.room(module)) != (other := LAYERS.room(target))
        and (FLOOR[other] >= FLOOR[own] or other in NEVER.get(own, ()))
    ]


def test_layers_look_down_only() -> None:
    assert looking_up(GRAPH) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert LAYERS.circles(GRAPH) == []


def test_the_checks_of_layers_can_fail() -> None:
    up = {"xbench.models.text": {"xbench.runner.plan"}, "xbench.site.load": {"xbench.maps"}}
    assert looking_up(up) == [
        "xbench.models.text imports xbench.runner.plan",
        "xbench.site.load imports xbench.maps",
    ]
    assert looking_up({"xbench.runner.plan": {"xbench.models.text"}}) == []
    assert LAYERS.circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
    assert LAYERS.layers({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"c"}}) == {
        "a": 3,
        "b": 2,
        "c": 1,
        "d": 2,
    }


def test_there_is_no_drawer_for_everything() -> None:
    names = {path.stem for path in ROOT.rglob("*.py")}
    assert names.isdisjoint({"utils", "util", "helpers", "common", "misc"})
