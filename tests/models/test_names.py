"""Registered checkpoints come from data files, complete, and listing them loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

import xbench
from xbench import registry
from xbench.cli import listing

CHECKPOINTS = [c for family in registry.models.descriptions() for c in family.checkpoints]


def test_there_are_many_and_every_family_has_some() -> None:
    assert len(CHECKPOINTS) >= 30
    assert all(family.checkpoints for family in registry.models.descriptions())
    assert len({c.name for c in CHECKPOINTS}) == len(CHECKPOINTS)


def test_what_a_checkpoint_states_is_complete_or_says_why_not() -> None:
    for checkpoint in CHECKPOINTS:
        assert checkpoint.hub_id or checkpoint.packaged, checkpoint
        assert checkpoint.languages, checkpoint
        assert checkpoint.licence, checkpoint
        assert checkpoint.checked, checkpoint
        assert set(checkpoint.tasks) <= {"asr", "st"}, checkpoint
        assert checkpoint.tasks, checkpoint
        if checkpoint.parameters is None:
            assert checkpoint.note, checkpoint
        else:
            assert 1e6 < checkpoint.parameters < 1e10, checkpoint


def test_the_sizes_that_the_issue_names_are_there() -> None:
    names = {c.name for c in CHECKPOINTS}
    for expected in (
        "whisper-tiny.en",
        "whisper-large-v2",
        "whisper-large-v3",
        "whisper-large-v3-turbo",
        "distil-large-v3",
        "s2t-small-librispeech",
        "s2t-small-mustc-en-it",
        "speecht5-asr",
        "seamless-m4t-medium",
        "seamless-m4t-v2-large",
        "moonshine-base",
        "canary-1b-v2",
        "cohere-transcribe",
        "fama-small",
        "fama-medium",
    ):
        assert expected in names


def test_data_files_hold_no_unknown_field() -> None:
    known = {"hub_id", "revision", "packaged", "parameters", "languages", "tasks", "licence"}
    for path in (Path(xbench.__file__).parent / "models" / "families").glob("*.yaml"):
        if path.stem in ("iso639", "language_names"):
            continue
        listed = yaml.safe_load(path.read_text("utf-8"))
        assert set(listed) == {"checked", "checkpoints"}, path.name
        for name, entry in listed["checkpoints"].items():
            assert set(entry) <= known | {"note", "checked", "tested"}, (path.name, name)


def test_language_codes_are_of_two_and_three_letters() -> None:
    path = Path(xbench.__file__).parent / "models" / "families" / "iso639.yaml"
    codes = yaml.safe_load(path.read_text("utf-8"))
    assert codes["en"] == "eng"
    assert codes["no"] == "nob"  # a word that YAML 1.1 takes for false, unless it is quoted
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in codes.items())
    assert {len(v) for v in codes.values()} == {3}


def test_a_checkpoint_without_a_known_size_is_listed_and_shown() -> None:
    row = next(r for r in listing.rows("models", ["models"]) if r["name"] == "fama-small-asr")
    assert row["parameters"] is None
    assert "trust-remote-code" in listing.facts("model", "fama-small-asr")["note"]


def test_what_nobody_could_run_is_labelled_untested_with_the_source_of_its_loader() -> None:
    listed = {row["name"]: row["status"] for row in listing.rows("models", ["models"])}
    for family in registry.models.descriptions():
        statuses = listing.facts("model", family.name)["checkpoints"]
        for checkpoint in family.checkpoints:
            shown = listing.facts("model", checkpoint.name)
            assert listed[checkpoint.name] == statuses[checkpoint.name] == checkpoint.status
            assert shown["checked"] == checkpoint.checked
            if checkpoint.tested:
                assert (checkpoint.status, shown["status"]) == ("run", "run")
                assert shown["tested"] == checkpoint.tested
            else:
                assert checkpoint.packaged is None
                assert checkpoint.status == "untested"
                assert shown["status"].startswith("untested: nobody could run it here")
                assert family.source in shown["status"]


def test_listing_models_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom xbench.cli import listing\nlisting.rows('models', ['models'])\n"
        "listing.facts('model', 'canary-1b-v2')\n"
        "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in run.stdout
    assert "transformers" not in run.stdout
