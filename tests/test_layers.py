"""The rules of the house that no type checker enforces: what may import what."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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
        "xbench.spec",
        "xbench.errors",
        "xbench.store",
        "xbench.data.manifest",
        "xbench.data.prepare",
        "xbench.report",
        "xbench.scaffold",
        "xbench.stats",
        "xbench.site.build",
        "xbench.site.check",
        "xbench.site.serve",
    ],
)
def test_torch_free_modules_import_nothing_heavy(module: str) -> None:
    assert loaded_after(f"import {module}") == []


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


def test_showing_a_task_reads_no_other_task(monkeypatch: pytest.MonkeyPatch) -> None:
    from xbench import listing, strict_yaml, tasks

    read: set[str] = set()

    def noted(path: Path) -> strict_yaml.Document:
        read.add(path.name)
        return strict_yaml.read_yaml(path)

    monkeypatch.setattr(tasks, "read_yaml", noted)
    listing.facts("task", "asr-en")
    assert {name for name in read if not name.startswith("_")} == {"asr-en.yaml"}


def test_the_check_for_heavy_imports_can_fail() -> None:
    assert loaded_after("import soundfile") == ["soundfile"]


# -- layers look down only ------------------------------------------------------------------------


def imports(path: Path) -> Iterator[str]:
    """Yield every module a file imports, inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offences(below: str, forbidden: tuple[str, ...]) -> list[str]:
    files = sorted(ROOT.glob(below))
    assert files, f"no file matches {below}"
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imports(path)
        if any(f"{name}.".startswith(f"xbench.{layer}.") for layer in forbidden)
    ]


TOP = ("cli", "console", "doctor", "listing", "site")
RULES = {
    "spec.py": ("*",),
    "errors.py": ("*",),
    "stats/*.py": ("runner", "models", "methods", "references", "metrics", "results", *TOP),
    "maps.py": ("runner", "models", "methods", "references", "metrics", "results", *TOP),
    "trace.py": ("runner", "models", "methods", "references", "metrics", "results", *TOP),
    "store.py": ("runner", "models", "methods", "references", "metrics", "results", *TOP),
    "results.py": ("runner", "models", "methods", "references", "metrics", *TOP),
    "schemas/*.py": ("runner", "models", "methods", "references", "metrics", "results", *TOP),
    "data/*.py": ("runner", "models", "methods", "references", "metrics", "results", *TOP),
    "data/corpora/*.py": ("runner", "models", "methods", "references", "metrics", "results", *TOP),
    "models/*.py": ("runner", "methods", "references", "metrics", "results", *TOP),
    "methods/*.py": ("runner", "references", "metrics", "results", *TOP),
    "references/*.py": ("runner", "methods", "results", *TOP),
    "metrics/*.py": ("runner", "methods", "references", "models", "results", *TOP),
    "runner/*.py": TOP,
    "site/**/*.py": ("runner", "models", "methods", "references", "metrics", "trace", "case"),
}


@pytest.mark.parametrize("below", RULES)
def test_layers_look_down_only(below: str) -> None:
    forbidden = RULES[below]
    if forbidden == ("*",):
        allowed = {"spec.py": ("xbench.errors",), "errors.py": ()}[below]
        found = {name for name in imports(ROOT / below) if name.startswith("xbench")}
        assert {name for name in found if not name.startswith(allowed or "never")} == set()
    else:
        assert offences(below, forbidden) == []


def test_the_layer_check_can_fail() -> None:
    assert offences("runner/evaluate.py", ("models", "store"))
    assert not offences("runner/evaluate.py", ("model",)), "a prefix of a name is not the name"


def test_there_is_no_drawer_for_everything() -> None:
    names = {path.stem for path in ROOT.rglob("*.py")}
    assert names.isdisjoint({"utils", "util", "helpers", "common", "misc"})
