"""The wheel works in an empty environment outside the checkout: names, tasks, schemas, the demo."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (path,) = folder.glob("xbench-*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_tasks_model_and_audio(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "xbench/_tasks/demo.yaml",
        "xbench/_tasks/_defaults.yaml",
        "xbench/_leaderboard/templates/base.html",
        "xbench/_leaderboard/assets/site.css",
        "xbench/_methods/mean-heads.md",
        "xbench/demo/model/model.safetensors",
        "xbench/demo/model-lm/model.safetensors",
        "xbench/demo/test.jsonl",
        "xbench/schemas/result.schema.json",
        "xbench/models/families/whisper.yaml",
    ):
        assert name in names
    assert any(name.startswith("xbench/demo/audio/") for name in names)
    assert not any("tests/" in name for name in names)


@pytest.mark.slow
def test_an_installed_wheel_runs_the_demo_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    tested = ["--constraint", str(ROOT / "constraints.txt")]
    install = [str(python), "-m", "pip", "install", "--quiet", *tested, str(wheel)]
    subprocess.run(install, check=True, capture_output=True)

    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    clean |= {"HOME": str(tmp_path), "XBENCH_CACHE": str(tmp_path / "cache")}
    xbench = [str(environment / "bin" / "xbench")]
    run = ["eval", "--model", "xbench-tiny", "--task", "demo", "--method", "mean-heads"]
    run += ["--masks", "12", "--limit", "2", "--json"]
    done = subprocess.run(
        [*xbench, *run], cwd=tmp_path, env=clean, check=True, capture_output=True, text=True
    )
    assert done.stdout.count('"status": "partial"') == 3
    assert len(list((tmp_path / "results").rglob("*.json"))) == 3
    listed = subprocess.run(
        [*xbench, "list", "tasks"],
        cwd=tmp_path,
        env=clean,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "demo-st-multi" in listed.stdout
