"""What is tested with what: Python versions, pinned packages, and which warnings fail a test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
CLASSIFIER = "Programming Language :: Python :: "
PYTHONS = [c.removeprefix(CLASSIFIER) for c in PROJECT["classifiers"] if c.startswith(CLASSIFIER)]

pytest_plugins = ["pytester"]


# -- Python ---------------------------------------------------------------------------------------


def test_everything_names_the_same_versions_of_python() -> None:
    first, last = PYTHONS[0], PYTHONS[-1]
    minors = [int(python.removeprefix("3.")) for python in PYTHONS]
    assert minors == list(range(minors[0], minors[-1] + 1))
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert [m for m in range(30) if f"3.{m}.9" in allowed] == minors
    assert f"PYTHONS := {' '.join(PYTHONS)}\n" in (ROOT / "Makefile").read_text("utf-8")
    assert f"You need Python {first} to {last}," in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("echo 3.14", "is 3.14"),
        ("echo 3.1", "is 3.1"),  # a prefix of a version is not the version
        ("exit 1", "is no Python that runs"),
    ],
)
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_refuses_a_python_that_is_not_tested(python: str, said: str, tmp_path: Path) -> None:
    fake = tmp_path / "fake"
    fake.write_text(f"#!/bin/sh\n{python}\n")
    fake.chmod(0o755)
    command = ["make", "demo", f"PYTHON={fake}", f"VENV={tmp_path / 'venv'}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"with Python {PYTHONS[0]} to {PYTHONS[-1]} and refuses others; '{fake}' {said};" in (
        done.stdout
    )
    assert f"use make PYTHON=python{PYTHONS[-1]}" in done.stdout
    assert "-m venv" not in done.stdout


# -- packages -------------------------------------------------------------------------------------


def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def wanted() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    groups = (PROJECT["dependencies"], *(extras[name] for name in ("test", "dev", "plot", "docs")))
    return [Requirement(line) for group in (*groups, ("pip", "editables")) for line in group]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_each_package_has_one_pin_that_its_range_allows(
    requirement: Requirement, python: str
) -> None:
    machine = {"python_version": python, "python_full_version": f"{python}.1"}
    fitting = [
        pin
        for pin in pins()
        if canonicalize_name(pin.name) == canonicalize_name(requirement.name)
        and (pin.marker is None or pin.marker.evaluate(machine))
    ]
    assert len(fitting) == 1, "run `make constraints`"
    (pinned,) = fitting[0].specifier
    assert pinned.operator == "=="
    assert requirement.specifier.contains(pinned.version), "run `make constraints`"


def test_pins_fit_any_machine() -> None:
    text = (ROOT / "constraints.txt").read_text("utf-8")
    assert not re.search(r"://|--|@|\+", text), "no place to fetch from, no hash, no local build"


# -- warnings -------------------------------------------------------------------------------------

LIBRARY = """
import warnings
def announce(category, stacklevel=1):
    warnings.warn("this will change", category, stacklevel=stacklevel)
"""
PART = """
import warnings
from library import announce
def deprecated():
    warnings.warn("ours will change", FutureWarning)
def calls_what_is_deprecated():
    announce(DeprecationWarning, stacklevel=2)
def calls_what_calls_what_is_deprecated():
    announce(DeprecationWarning)
"""
TESTS = """
import warnings
import pytest
import xbench_plugin.part
from library import announce
from xbench.models import part

@pytest.mark.parametrize("kind", [DeprecationWarning, PendingDeprecationWarning, FutureWarning])
def test_pass_library_deprecates(kind): announce(kind)
def test_pass_through_xbench(): part.calls_what_calls_what_is_deprecated()
def test_pass_plugin_deprecates(): xbench_plugin.part.deprecated()

@pytest.mark.parametrize("kind", [UserWarning, RuntimeWarning])
def test_fail_library_warns(kind): announce(kind)
def test_fail_xbench_deprecates(): part.deprecated()
def test_fail_xbench_calls(): part.calls_what_is_deprecated()
def test_fail_test_calls(): announce(FutureWarning, stacklevel=2)
"""


@pytest.fixture
def rules(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A checkout with the project's filters, a library, an xbench and a package whose name begins alike."""
    lines = PYPROJECT["tool"]["pytest"]["ini_options"]["filterwarnings"]
    pytester.makeini("[pytest]\nfilterwarnings =\n" + "".join(f"    {line}\n" for line in lines))
    pytester.makepyfile(library=LIBRARY, test_rules=TESTS)
    for folder in ("benchmark/xbench", "benchmark/xbench/models", "xbench_plugin"):
        (pytester.path / folder).mkdir(parents=True)
        pytester.makepyfile(**{f"{folder}/__init__": "", f"{folder}/part": PART})
    scripts = pytester.mkdir("scripts")
    shutil.copy(ROOT / "scripts" / "newest_versions.py", scripts)
    paths = (pytester.path / "benchmark", scripts, os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
    return pytester


def test_deprecations_fail_where_the_line_is_ours(rules: pytest.Pytester) -> None:
    done = rules.runpytest_subprocess("-rA", "-p", "no:cacheprovider")
    done.assert_outcomes(passed=5, failed=5, warnings=5)
    for line in done.outlines:
        assert not line.startswith(
            ("FAILED test_rules.py::test_pass", "PASSED test_rules.py::test_fail")
        )


# -- the newest versions --------------------------------------------------------------------------

OLDER = "pytest==0.1\n"


def newest(rules: pytest.Pytester, constraints: str, *options: str) -> list[str]:
    """Run the tests with the filters that `make test-newest` adds; return what the plugin says."""
    (rules.path / "constraints.txt").write_text(f"# a comment\n{constraints}")
    filters = re.findall(r"-W (\S+Warning)", (ROOT / "Makefile").read_text("utf-8"))
    assert len(filters) == 3
    command = ["-p", "newest_versions", "-p", "no:cacheprovider", *(f"-W{f}" for f in filters)]
    done = rules.runpytest_subprocess(*command, *options)
    said = [line for line in done.outlines if line.startswith("newest versions: ")]
    return [line.removeprefix("newest versions: ") for line in said]


def test_the_newest_versions_show_deprecations_and_say_what_breaks(rules: pytest.Pytester) -> None:
    newer, said = newest(rules, OLDER)
    assert newer == f"pytest {pytest.__version__} (tested 0.1)"
    expected = (
        r"RED \(not blocking\), failing tests: 2, first: test_rules\.py::test_fail_library_warns\[UserWarning\]; "
        r"deprecations that our calls meet: 2, first: \S*part\.py:\d+: FutureWarning: ours will change"
    )
    assert re.fullmatch(expected, said), said


def test_the_newest_versions_are_green(rules: pytest.Pytester) -> None:
    assert newest(rules, OLDER, "-k", "library_deprecates")[1:] == ["green"]


def test_a_run_without_tests_is_not_green(rules: pytest.Pytester) -> None:
    said = newest(rules, OLDER, "-k", "nothing")[1:]
    assert said == ["RED (not blocking), pytest stopped with 5"]


@pytest.mark.parametrize(
    "constraints",
    [
        f"pytest=={pytest.__version__}\n",
        "pytest==0.1 ; python_version < '3'\n",
        "not-there==1\n",
    ],
)
def test_nothing_runs_where_the_tested_versions_are_the_newest(
    constraints: str, rules: pytest.Pytester
) -> None:
    (said,) = newest(rules, constraints)
    assert said.startswith("those of constraints.txt")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ("echo 'newest versions: green'", "newest versions: green\n"),
        (
            "echo 'newest versions: RED'; echo '3 failed, 5 passed in 1s'; exit 2",
            "newest versions: RED\n",
        ),
        (
            "echo 'ERROR: No space left'; echo '3 failed in 1s'; exit 2",
            "newest versions: no outcome (not blocking): ERROR: No space left\n",
        ),
        ("exit 124", "newest versions: no outcome after 400 seconds (not blocking)\n"),
    ],
)
def test_ci_prints_the_outcome_and_passes(make: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "make").write_text(f"#!/bin/sh\n{make}\n")
    (tmp_path / "make").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = [str(ROOT / ".ci" / "newest"), "400"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_ci_skips_the_newest_versions_when_time_is_short() -> None:
    command = [str(ROOT / ".ci" / "newest"), "-20"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("newest versions: skipped")
