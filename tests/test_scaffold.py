"""`xbench new`: the packages it makes are found, keep the contract and pass their own tests."""

from __future__ import annotations

import os
import shlex
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


def own_tests(package: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return run(package, site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")


def quick_for_tasks(kind: str, *values: str) -> object:
    return pytest.param(
        kind, *values, marks=[] if kind in ("task", "dataset") else pytest.mark.slow
    )


@pytest.mark.parametrize("kind", [quick_for_tasks(kind) for kind in scaffold.KINDS])
def test_a_new_package_works_and_passes_its_own_test(kind: str, tmp_path: Path) -> None:
    files = scaffold.new(kind, "my-thing", tmp_path)
    package = tmp_path / "my-thing"
    assert all(file.is_relative_to(package) for file in files)
    assert not [file for file in files if "$" in file.read_text()]
    done = own_tests(package, installed(package, tmp_path / "site"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_readme_of_a_model_says_how_to_get_a_folder_to_check(tmp_path: Path) -> None:
    scaffold.new("model", "my-thing", tmp_path)
    package = tmp_path / "my-thing"
    site = installed(package, tmp_path / "site")
    lines = (package / "README.md").read_text().splitlines()
    (small,) = (shlex.split(line) for line in lines if line.startswith("    python -c"))
    (check,) = (shlex.split(line) for line in lines if line.startswith("    xbench check"))
    for command in (small[1:], ["-m", *check]):
        done = run(package, site, *command)
        assert done.returncode == 0, done.stdout + done.stderr


# Kind, what is changed into what, and what the package's own test then says.
BREAKS = {
    "method": (
        "trace.cross_attention[-1].mean(0)",
        "trace.cross_attention[-1].mean(0) - 1",
        "map: method 'my-thing' returned negative relevance but does not declare itself signed",
    ),
    "metric": (
        "Score(float(np.mean(same)))",
        "Score(2 * float(np.mean(same)))",
        "range: the reference itself: 2 lies outside the declared range [0.0, 1.0]",
    ),
    "model": (
        "network.lm_head(states)",
        "network.lm_head(2 * states)",
        "own-forward: against the network's own forward pass: KL",
    ),
    "reference": (
        'return Facts(neutral="zero vector")',
        "return Facts(neutral=0)",
        "facts: neutral = 0 is neither a text nor None",
    ),
    "dataset": (
        'cluster=row["speaker"]',
        'cluster=row["speaker"] if row["id"] == "one" else None',
        "clusters: ",
    ),
    "task": ("version: 1", "version: one", "version: "),
}


def test_every_kind_is_broken_on_purpose() -> None:
    assert set(BREAKS) == set(scaffold.KINDS)


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "sentence"),
    [quick_for_tasks(kind, *change) for kind, change in BREAKS.items()],
)
def test_a_package_that_is_broken_fails_its_own_test_with_the_reason(
    kind: str, right: str, wrong: str, sentence: str, tmp_path: Path
) -> None:
    files = scaffold.new(kind, "my-thing", tmp_path)
    (file,) = (f for f in files if right in f.read_text() and "tests" not in f.parts)
    file.write_text(file.read_text().replace(right, wrong))
    package = tmp_path / "my-thing"
    done = own_tests(package, installed(package, tmp_path / "site"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert sentence in done.stdout
    assert "AttributeError" not in done.stdout


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
        ("reference", "spes-encoder", "there is a reference 'spes-encoder' already"),
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
