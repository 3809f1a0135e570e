"""`xbench new`: the packages it makes are found, keep the contract and pass their own tests."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from xbench.cli import scaffold
from xbench.errors import UsageError

EXAMPLE = Path(__file__).parents[1] / "examples" / "last-layer"


def run(package: Path, site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(package), str(site)])
    return subprocess.run(
        [sys.executable, *command],
        cwd=package,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def installed(package: Path, site: Path) -> Path:
    """Write the metadata that installing a package writes; its folder goes on the path beside it."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    sections = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(sections))
    return site


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[] if kind == "task" else pytest.mark.slow)
        for kind in scaffold.KINDS
    ],
)
def test_a_new_package_works_and_passes_its_own_test(kind: str, tmp_path: Path) -> None:
    files = scaffold.new(kind, "my-thing", tmp_path)
    package = tmp_path / "my-thing"
    assert all(file.is_relative_to(package) for file in files)
    assert not [file for file in files if "$" in file.read_text()]
    site = installed(package, tmp_path / "site")
    done = run(package, site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("methods", "a", "cannot make a 'methods', did you mean 'method'"),
        ("method", "My Thing", "is no name"),
        ("method", "../a", "is no name"),
        ("method", "class", "is no name"),
        ("method", "there", "is there already"),
        ("method", "mean-heads", "there is a method 'mean-heads' already"),
        ("model", "whisper", "there is a model 'whisper' already"),
        ("task", "asr-en", "there is a task 'asr-en' already"),
    ],
)
def test_what_cannot_be_made(kind: str, name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match=reason):
        scaffold.new(kind, name, tmp_path)


def test_the_example_is_what_new_makes(tmp_path: Path) -> None:
    made = scaffold.new("method", "last-layer", tmp_path)
    for file in made:
        kept = EXAMPLE / file.relative_to(tmp_path / "last-layer")
        assert kept.read_text() == file.read_text(), kept


@pytest.mark.slow
def test_the_example_installs(tmp_path: Path) -> None:
    options = ["--no-deps", "--no-index", "--no-build-isolation", "-q", "--target"]
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", *options, str(site), str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code = "import sys; from xbench.cli import main; sys.argv = ['xbench', 'show', 'method', 'last-layer']; main()"
    shown = run(tmp_path, site, "-c", code)
    assert "last-layer 0.1.0" in shown.stdout, shown.stderr
