"""Commands and Python in README, CONTRIBUTING and docs/ are what they say, as far as that can be tried in seconds.

Every `xbench` command of a code block is held against the command line: the command, its options, and registered
names. Those that only list or show are run. Pages `docs/write-a-*.md` are run as a whole by test_docs_code.py. What is
not run is skipped with a reason, which pytest -rs lists.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import xbench
from command_line import Run
from xbench import registry, tasks
from xbench.cli.commands import app
from xbench.spec import Call, RunSpec

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(ROOT / folder / "README.md" for folder in ("tasks", "submissions")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PAGES = [page for page in PAGES if page.is_file()]
RUNS = {"list", "show", "version"}
# Why a command is not run; what it names is checked all the same.
WHY_NOT = {
    "eval": "minutes, or clips of one's own",
    "heads": "minutes, or clips of one's own",
    "explain": "a clip of one's own",
    "score": "needs the store of a run",
    "audit": "needs the store of a run",
    "decisions": "needs the store of a run",
    "compare-references": "needs the store of a run",
    "verify": "needs a result",
    "submit": "needs a result",
    "diff": "needs results",
    "pack": "needs the store of a run",
    "unpack": "needs a pack",
    "export": "needs results",
    "check": "tests/contract runs these batteries",
    "new": "tests/test_scaffold.py runs it",
    "validate": "needs files of one's own",
    "plot": "needs results",
    "report": "needs results",
    "leaderboard": "tests/site builds sites",
    "examples": "tests/runner/test_examples.py exports them",
    "data": "needs a corpus",
    "cache": "would change the store of this machine",
    "doctor": "is about this machine",
}
PLACEHOLDER = re.compile(
    r"[A-Z][A-Z0-9_-]*|\.\.\.|.*(?:\.\.\.|[<>{}*]|\b[A-Z]{3,}\b|\bM\b|\bA\b|\bB\b|\bR\b).*"
)


def code_lines(page: Path) -> Iterator[str]:
    """Yield the lines of fenced and indented code, those that end in a backslash joined."""
    fenced, joined = False, ""
    for line in page.read_text("utf-8").splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            joined += line.strip().removeprefix("$ ")
            if joined.endswith("\\"):
                joined = joined[:-1] + " "
                continue
            yield joined
            joined = ""


def commands(page: Path) -> list[str]:
    """Return the `xbench` commands of a page, without comments; of `a && b` both."""
    found = []
    for line in code_lines(page):
        for part in re.split(r"\s&&\s|\s;\s", line):
            if part.startswith("xbench "):
                found.append(shlex.join(shlex.split(part, comments=True)))
    return found


ALL = [
    pytest.param(command, id=f"{page.relative_to(ROOT)}: {command[:60]}")
    for page in PAGES
    if not page.name.startswith("write-a-")
    for command in dict.fromkeys(commands(page))
]


def problems(command: str) -> list[str]:
    """Return what of a command does not exist: the command, an option, or a name."""
    words = shlex.split(command)[1:]
    node: Any = typer.main.get_command(app)
    while hasattr(node, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in node.commands:
            return [f"there is no command '{name}'"]
        node = node.commands[name]
    options = {
        name
        for p in node.params
        if p.param_type_name == "option"
        for name in (*p.opts, *p.secondary_opts)
    }
    found = []
    for place, word in enumerate(words):
        if word.startswith("--") and word.partition("=")[0] not in (*options, "--help"):
            found.append(f"there is no option '{word}'")
        elif place and words[place - 1] in NAMES and not PLACEHOLDER.fullmatch(word):
            found += unknown(words[place - 1], word)
    return found


NAMES = ("--method", "--metric", "--reference", "--task")


def unknown(option: str, text: str) -> list[str]:
    """Return why a name that an option is given is not registered."""
    if option == "--task":
        known = {file.name for file in tasks.task_index()}
        return [] if text in known or text.endswith(".yaml") else [f"there is no task '{text}'"]
    name = Call.parse(text.removeprefix("+"))
    if ".py:" in name.name:
        return []
    try:
        if option == "--reference":  # whose other parameters are the task's
            registry.references.get(name.name)
        else:
            (registry.methods if option == "--method" else registry.metrics).resolve(name)
    except xbench.UsageError as problem:
        return [str(problem)]
    return []


@pytest.mark.parametrize("command", ALL)
def test_a_command_of_a_page_exists(command: str) -> None:
    assert problems(command) == []


@pytest.mark.parametrize("command", ALL)
def test_a_command_of_a_page_runs(command: str, run: Run) -> None:
    words = shlex.split(command)[1:]
    if any(map(PLACEHOLDER.fullmatch, words)):
        pytest.skip("it has placeholders")
    if words[0] not in RUNS:
        pytest.skip(WHY_NOT[words[0]])
    assert run(*words).code == 0


def test_a_wrong_command_is_found() -> None:
    assert problems("xbench evl") == ["there is no command 'evl'"]
    assert problems("xbench eval --mehtod x") == ["there is no option '--mehtod'"]
    (found,) = problems("xbench eval --method mean-hads --model M")
    assert "did you mean 'mean-heads'" in found
    assert problems("xbench eval --metric +spearmn")
    assert problems("xbench eval --task asr-xx") == ["there is no task 'asr-xx'"]
    assert problems("xbench cache clear --yes") == []


# -- make and scripts -----------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_targets_and_scripts_of_a_page_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^    |`)make ([a-z-]+)", text, re.MULTILINE)
    assert set(named) <= targets
    scripts = re.findall(r"python ((?:scripts|perf)/\w+\.py)", text)
    assert [name for name in scripts if not (ROOT / name).is_file()] == []


# -- Python ---------------------------------------------------------------------------------------


def python_blocks() -> list[Any]:
    pages = [page for page in PAGES if not page.name.startswith("write-a-")]
    return [
        pytest.param(text, id=f"{page.relative_to(ROOT)} {number}")
        for page in pages
        for number, text in enumerate(
            re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        )
    ]


@pytest.mark.parametrize("code", python_blocks())
def test_python_of_a_page_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as it stands, but on two clips with 24 masks, in a folder and a store of its own."""

    def fewer(**given: Any) -> xbench.RunSpec:
        return RunSpec(**{"masks": 24, "selection": xbench.Selection(limit=2), **given})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(xbench, "RunSpec", fewer, raising=False)
    exec(compile(code, "page", "exec"), {})
