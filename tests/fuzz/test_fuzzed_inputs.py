"""Thousands of broken tasks, manifests, bundles and maps: each is told in sentences."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mutations import as_bytes, damage, mutated

from xbench.cli.validation import check_file
from xbench.errors import XbenchError
from xbench.runner.outside import read_maps

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_of_2000_broken_tasks_each_is_told(tmp_path: Path) -> None:
    generator = random.Random(1)
    sound = [
        yaml.safe_load((ROOT / "tasks" / f"{name}.yaml").read_text("utf-8"))
        for name in ("asr-en", "demo-asr-en", "core", "_defaults")
    ]
    for number in range(2000):
        path = tmp_path / f"task-{number % 7}.yaml"
        data = mutated(generator.choice(sound), generator)
        if generator.random() < 0.5:
            path.write_bytes(as_bytes(data, generator))  # JSON is YAML too
        else:
            content = bytearray(yaml.safe_dump(data).encode())
            damage(content, generator)
            path.write_bytes(content)
        told = check_file(path)
        assert all(isinstance(line, str) and "Traceback" not in line for line in told.problems)


@pytest.mark.slow
def test_of_3000_broken_manifests_each_is_told(tmp_path: Path) -> None:
    generator = random.Random(2)
    demo = ROOT / "benchmark" / "xbench" / "demo"
    lines = [json.loads(line) for line in (demo / "test.jsonl").read_text("utf-8").splitlines()[:4]]
    (tmp_path / "audio").symlink_to(demo / "audio")
    for _ in range(3000):
        path = tmp_path / "clips.jsonl"
        path.write_bytes(
            b"\n".join(as_bytes(mutated(line, generator), generator) for line in lines)
        )
        told = check_file(path)
        assert all(str(path) in line for line in (*told.problems, *told.warnings))


@pytest.mark.slow
def test_of_1500_broken_bundles_each_is_told(tmp_path: Path) -> None:
    generator = random.Random(3)
    example = min((ROOT / "docs" / "examples").glob("demo-asr-en-*/bundle.json"))
    bundle = json.loads(example.read_text("utf-8"))
    folder = tmp_path / example.parent.name
    folder.mkdir()
    (folder / "audio.wav").write_bytes((example.parent / "audio.wav").read_bytes())
    for _ in range(1500):
        path = folder / "bundle.json"
        path.write_bytes(as_bytes(mutated(bundle, generator), generator))
        told = check_file(path)
        assert all(str(path) in line for line in told.problems)


@pytest.mark.slow
def test_of_1500_broken_folders_of_maps_each_is_refused_in_a_sentence(tmp_path: Path) -> None:
    generator = random.Random(4)
    description: dict[str, Any] = {
        "schema": "xbench.maps/1",
        "name": "mine",
        "kind": "attention",
        "space": "encoder",
        "signed": False,
        "distribution": False,
        "uses_gradients": False,
        "files": {"a": "a.npy", "b": "b.npz"},
    }
    plain, packed = io.BytesIO(), io.BytesIO()
    np.save(plain, np.ones((3, 4), np.float32))
    np.savez_compressed(packed, a=np.ones((3, 4), np.float32))
    read = 0
    for _ in range(1500):
        data = mutated(description, generator) if generator.random() < 0.5 else description
        (tmp_path / "maps.json").write_bytes(as_bytes(data, generator))
        for name, sound in (("a.npy", plain), ("b.npz", packed)):
            content = bytearray(sound.getvalue())
            if generator.random() < 0.5:
                damage(content, generator)
            (tmp_path / name).write_bytes(content)
        try:
            read_maps(tmp_path)
        except XbenchError:
            continue
        read += 1
    assert read > 20
