"""`check task` passes every task that xbench brings, and finds what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from xbench.errors import UnknownName, UsageError
from xbench.tasks import task_index
from xbench.testing import check_task, problems

TASKS = [file.name for file in task_index() if file.kind == "task"]
SOUND = {
    "schema": "xbench.task/1",
    "name": "mine",
    "version": 1,
    "title": "A test",
    "licence": "CC0-1.0",
    "include": "builtin:_asr.yaml",
    "source_languages": ["en"],
    "dataset": {"name": "demo", "split": "test", "dev_split": "dev"},
}


def checked(folder: Path, **changes: object) -> dict[str, tuple[str, str]]:
    """Return what the battery says of a task file: check to status and detail."""
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**SOUND, **changes}))
    return {result.check: (result.status, result.detail) for result in check_task(path)}


@pytest.mark.parametrize("name", TASKS)
def test_built_in_tasks_keep_the_contract(name: str) -> None:
    assert problems(check_task(name)) == []


def test_every_check_has_something_to_look_at(tmp_path: Path) -> None:
    assert {status for status, _ in checked(tmp_path).values()} == {"passed"}


@pytest.mark.parametrize(
    ("check", "changes", "detail"),
    [
        ("file", {"version": "one"}, "version: "),
        ("floor", {"floor": "mean-heads"}, "is a method of kind 'attention', not a control"),
        ("clips", {"source_languages": ["sw"]}, "has no clip in sw"),
    ],
)
def test_what_is_wrong_is_found(
    check: str, changes: dict[str, object], detail: str, tmp_path: Path
) -> None:
    status, said = checked(tmp_path, **changes)[check]
    assert status == "failed"
    assert detail in said


def test_clips_that_are_not_here_are_skipped(tmp_path: Path) -> None:
    found = checked(tmp_path, dataset={"name": "manifest"})
    assert found["clips"] == ("skipped", "its clips are given with --data")
    assert found["dev"] == ("skipped", "it names no split that methods may learn from")


def test_a_suite_and_an_unknown_task_are_refused() -> None:
    with pytest.raises(UsageError, match="'demo' is a suite"):
        check_task("demo")
    with pytest.raises(UnknownName, match="did you mean 'demo-asr-en'"):
        check_task("demo-asr-em")
