"""Workflows under .github are what GitHub takes, run what runs here, and give untrusted code no token that writes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
ACTIONS = {
    "actions/checkout@v4": {"persist-credentials", "ref", "path", "sparse-checkout"},
    "actions/setup-python@v5": {"python-version"},
    "actions/upload-artifact@v4": {"name", "path"},
    "actions/download-artifact@v4": {"name", "run-id", "github-token"},
}
# What GitHub knows of each level, as far as it is used here; anything else is a misspelling.
WORKFLOW = {"name", "on", "permissions", "concurrency", "jobs"}
JOB = {"runs-on", "timeout-minutes", "strategy", "steps"}
STEP = {"uses", "with", "run", "env", "if", "name"}
EVENTS = {"push", "pull_request", "workflow_run"}


def read(file: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(file.read_text())
    loaded["on"] = loaded.pop(
        True
    )  # YAML 1.1 takes the key `on` for a truth value; GitHub does not
    return dict(loaded)


def made_by(step: dict[str, Any]) -> list[str]:
    """Return the targets of make that a step names."""
    lines = re.findall(r"^make (.*)", step.get("run", ""), re.MULTILINE)
    return [word for line in lines for word in line.split() if "=" not in word]


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def problems(workflow: dict[str, Any]) -> list[str]:
    """Return what GitHub or a careful reader would refuse."""
    found = [f"unknown key '{key}'" for key in workflow.keys() - WORKFLOW]
    found += [f"unknown event '{event}'" for event in workflow["on"].keys() - EVENTS]
    if "permissions" not in workflow:
        found.append("without permissions the token may write")
    for name, job in workflow["jobs"].items():
        found += [f"{name}: unknown key '{key}'" for key in job.keys() - JOB]
        if "timeout-minutes" not in job:
            found.append(f"{name}: no time limit")
    for step in steps(workflow):
        found += [f"unknown key '{key}' of a step" for key in step.keys() - STEP]
        if ("uses" in step) == ("run" in step):
            found.append(f"a step either uses an action or runs a command: {step}")
        if "uses" in step:
            known = ACTIONS.get(step["uses"])
            if known is None:
                found.append(f"'{step['uses']}' is no action that we use")
            else:
                found += [f"{step['uses']}: '{k}'" for k in step.get("with", {}).keys() - known]
        if "${{" in step.get("run", ""):
            found.append(
                "an expression within a command: somebody's text would be run; pass it by env"
            )
    writes = [scope for scope, right in workflow.get("permissions", {}).items() if right == "write"]
    if writes and any("checkout" in step.get("uses", "") for step in steps(workflow)):
        found.append("it may write and checks out code")
    if writes and "pull_request" in workflow["on"]:
        found.append("code of a pull request would have a token that writes")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_workflow_is_sound(file: Path) -> None:
    assert problems(read(file)) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_workflow_makes_can_be_made_here(file: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for step in steps(read(file)):
        for target in made_by(step):
            assert target in targets


def test_one_target_makes_what_the_workflows_make() -> None:
    (rule,) = re.findall(r"^contribution: (.*?)  ##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    made = {target for file in FILES for step in steps(read(file)) for target in made_by(step)}
    assert made - set(rule.split()) == {"test-slow"}


def test_tests_run_on_every_supported_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    supported = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert read(FOLDER / "tests.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == supported


def test_only_the_comment_may_write() -> None:
    writing = {
        file.stem
        for file in FILES
        if "write" in {str(right) for right in read(file)["permissions"].values()}
    }
    assert writing == {"comment"}
    watched = read(FOLDER / "comment.yml")["on"]["workflow_run"]["workflows"]
    assert watched == [read(FOLDER / "submissions.yml")["name"]]


def test_unsound_workflows_are_found() -> None:
    sound = read(FOLDER / "comment.yml")
    step = {"run": "echo ${{ github.event.pull_request.title }}"}
    job = {**sound["jobs"]["comment"], "steps": [step, {"uses": "actions/checkout@v4"}]}
    wrong = {**sound, "on": {"pull_request": None}, "jobs": {"comment": job}}
    assert problems(wrong) == [
        "an expression within a command: somebody's text would be run; pass it by env",
        "it may write and checks out code",
        "code of a pull request would have a token that writes",
    ]
    assert problems({**sound, "jobs": {"a": {"runs-on": "x", "steps": [{"use": "y"}]}}}) == [
        "a: no time limit",
        "unknown key 'use' of a step",
        "a step either uses an action or runs a command: {'use': 'y'}",
    ]


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda form: form.stem
)
def test_forms_of_issues_have_what_github_asks_for(form: Path) -> None:
    loaded = yaml.safe_load(form.read_text())
    if form.stem == "config":
        assert loaded.keys() <= {"blank_issues_enabled", "contact_links"}
        return
    assert loaded.keys() == {"name", "description", "labels", "body"}
    ids = [field["id"] for field in loaded["body"]]
    assert len(ids) == len(set(ids))
    for field in loaded["body"]:
        assert field["type"] in {"textarea", "input", "dropdown"}
        assert field["attributes"]["label"]
        assert ("options" in field["attributes"]) == (field["type"] == "dropdown")
