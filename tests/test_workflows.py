"""Workflows under .github are what GitHub takes, run what runs here, and give untrusted code no token that writes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
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
    "actions/download-artifact@v4": {"name", "path", "run-id", "github-token"},
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


def test_every_pull_request_is_checked_and_tested_and_builds_both_sites() -> None:
    of_all: set[str] = set()
    for workflow in map(read, FILES):
        # `pull_request:` without a filter; with `paths`, what pages are made of elsewhere would reach main unseen.
        if workflow["on"].get("pull_request", "none") is None:
            of_all |= {target for step in steps(workflow) for target in made_by(step)}
    assert of_all == {"check", "test", "test-slow", "site", "docs"}


def test_the_leaderboard_links_to_the_documentation_that_is_built_beside_it() -> None:
    (job,) = read(FOLDER / "site.yml")["jobs"].values()
    (made,) = [step for step in job["steps"] if made_by(step)]
    (copied,) = [step["run"] for step in job["steps"] if step.get("run", "").startswith("cp")]
    assert copied == "cp -r build/docs site/docs"
    assert job["steps"][-1]["with"] == {"name": "site", "path": "site"}
    links = re.sub(r"\${{ github\.([a-z_.]+) }}", r"\1", made["env"]["LINKS"]).split()
    assert dict(zip(links[::2], links[1::2], strict=True)) == {
        "--repository": "server_url/repository",
        "--documentation": "https://repository_owner.github.io/event.repository.name/docs/",
    }


# Answers as GitHub would, by the filter that it is given, and writes down what would be commented where.
GH = """#!/usr/bin/env bash
if [ "$1" = api ]; then
  printf '%s\\n' "$@" > asked
  while [ "$1" != --jq ]; do shift; done
  jq -r "$2" < answer
else
  echo "$3" >> commented
fi
"""


@pytest.mark.skipif(not shutil.which("jq"), reason="jq, by which the answer of GitHub is read")
@pytest.mark.parametrize(
    ("pulls", "commented"),
    [
        ([("new", "eve/xbench", 7), ("old", "eve/xbench", 8), ("new", "bob/xbench", 9)], ["7"]),
        ([("old", "eve/xbench", 8), ("old", None, 666)], []),
        ([], []),
    ],
)
def test_the_comment_goes_where_github_says_and_not_where_the_artifact_does(
    pulls: list[tuple[str, str | None, int]], commented: list[str], tmp_path: Path
) -> None:
    script = commenting(tmp_path, pulls)
    (tmp_path / "report" / "report.md").write_text("```\nall is well\n")
    for place in (tmp_path, tmp_path / "report"):
        (place / "number").write_text("666")
    subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, env=environment(tmp_path), check=True
    )
    done = tmp_path / "commented"
    assert (done.read_text().split() if done.exists() else []) == commented
    assert (tmp_path / "comment.md").read_text() == "```\n\nall is well\n```\n"
    assert {"repos/our/xbench/pulls", "state=open", "head=eve:a b"} <= set(
        (tmp_path / "asked").read_text().splitlines()
    )


def test_the_comment_shows_no_file_that_a_forged_report_links_to(tmp_path: Path) -> None:
    script = commenting(tmp_path, [("new", "eve/xbench", 7)])
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "report" / "report.md").symlink_to(tmp_path / "secret")
    run = ["bash", "-e", "-c", script]
    done = subprocess.run(run, cwd=tmp_path, env=environment(tmp_path), check=False)
    assert done.returncode != 0
    assert not (tmp_path / "commented").exists()


def commenting(folder: Path, pulls: list[tuple[str, str | None, int]]) -> str:
    """Return the command that comments; in the folder stand an empty report, GitHub's answer and a `gh`."""
    (folder / "report").mkdir()
    answer = [
        {"number": number, "head": {"sha": sha, "repo": fork and {"full_name": fork}}}
        for sha, fork, number in pulls
    ]
    (folder / "answer").write_text(json.dumps(answer))
    (folder / "gh").write_text(GH)
    (folder / "gh").chmod(0o755)
    _, step = steps(read(FOLDER / "comment.yml"))
    assert set(step["env"]) == {"GH_TOKEN", *environment(folder)} - {"PATH"}
    fields = {"SHA": "head_sha", "FORK": "head_repository.full_name", "BRANCH": "head_branch"}
    for name, field in fields.items():
        assert step["env"][name] == f"${{{{ github.event.workflow_run.{field} }}}}"
    return str(step["run"])


def environment(folder: Path) -> dict[str, str]:
    """Return what the commenting command is told: which commit of which fork was looked at."""
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "GH_REPO": "our/xbench",
        "SHA": "new",
        "FORK": "eve/xbench",
        "BRANCH": "a b",
    }


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
