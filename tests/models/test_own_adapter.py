"""Checkpoints that hold an adapter and its base: it is merged, with every check of an adapter.

Granite Speech has it beside its weights, Phi-4-multimodal in a folder below.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from xbench.errors import EnvironmentProblem, UsageError
from xbench.models.formats import peft_adapter
from xbench.models.loading import load_model
from xbench.testing.small import write_small

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
OLD, NEW = "language_model.model.", "model.language_model."
RANK, ALPHA = 2, 6


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small("granite_speech", tmp_path_factory.mktemp("granite"))


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    """Write the checkpoint with an adapter whose base is somewhere else by its own account, as published ones say."""
    place = shutil.copytree(plain, tmp_path / "whole")
    edit(place / "config.json", has_lora_adapter=True)
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": "somebody/elsewhere",
        "r": RANK,
        "lora_alpha": ALPHA,
        "target_modules": ["q_proj", "v_proj"],
    }
    (place / CONFIG).write_text(json.dumps(settings))
    save_file(changes(plain), place / WEIGHTS)
    return place


def edit(file: Path, **changed: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def changes(plain: Path) -> dict[str, torch.Tensor]:
    """Return an adapter under the names of the transformers that the published ones were saved with."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    for name, weight in load_file(plain / "model.safetensors").items():
        if name.startswith(OLD) and name.endswith(("q_proj.weight", "v_proj.weight")):
            start = f"base_model.model.{name.removesuffix('.weight')}"
            found[f"{start}.lora_A.weight"] = torch.randn(
                RANK, weight.shape[1], generator=generator
            )
            found[f"{start}.lora_B.weight"] = torch.randn(
                weight.shape[0], RANK, generator=generator
            )
    return found


def loaded(place: object) -> Any:
    return load_model(f"granite_speech:{place}", device="cpu")


def refused(place: object, kind: type[Exception] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        loaded(place)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def check_merged(model: Any, plain: Path) -> None:
    """Hold the weights against base + alpha / rank * B A, computed here."""
    base, change = load_file(plain / "model.safetensors"), changes(plain)
    own, changed = model.network.state_dict(), 0
    for name, weight in base.items():
        if name.startswith(OLD):
            start = f"base_model.model.{name.removesuffix('.weight')}"
            if (down := change.get(f"{start}.lora_A.weight")) is not None:
                weight = weight + ALPHA / RANK * change[f"{start}.lora_B.weight"] @ down
                changed += 1
            torch.testing.assert_close(own[name.replace(OLD, NEW)], weight)
    assert changed == 4
    assert not any("lora" in name for name in own)


def test_it_is_merged_into_the_weights_beside_it(folder: Path, plain: Path) -> None:
    pytest.importorskip("peft")
    model, base = loaded(folder), loaded(plain)
    check_merged(model, plain)
    assert (model.info.format, model.info.source) == ("peft", "local")
    assert model.info.base.startswith("local@sha256:")
    assert model.info.n_parameters == base.info.n_parameters


def test_the_base_is_the_folder_without_its_adapter(folder: Path) -> None:
    pytest.importorskip("peft")
    before = loaded(folder).info
    weights = load_file(folder / WEIGHTS)
    save_file({name: 2 * weight for name, weight in weights.items()}, folder / WEIGHTS)
    after = loaded(folder).info
    assert after.base == before.base
    assert after.revision != before.revision
    edit(folder / "preprocessor_config.json", note="another")
    assert loaded(folder).info.base != before.base


def test_names_of_today_are_known_too(folder: Path, plain: Path) -> None:
    pytest.importorskip("peft")
    renamed = {name.replace(OLD, NEW): w for name, w in load_file(folder / WEIGHTS).items()}
    save_file(renamed, folder / WEIGHTS)
    check_merged(loaded(folder), plain)


def test_it_comes_from_the_hub_with_the_commit_of_its_base(
    folder: Path, plain: Path, hub_cache: Callable[[str], Path]
) -> None:
    pytest.importorskip("peft")
    snapshot = hub_cache("somebody/granite")
    shutil.copytree(folder, snapshot, dirs_exist_ok=True)
    model = loaded("somebody/granite")
    check_merged(model, plain)
    assert model.info.revision == snapshot.name
    assert model.info.base == f"somebody/granite@{snapshot.name}"
    assert model.info.format == "peft"


@pytest.mark.parametrize("installed", [True, False])
def test_without_it_the_checkpoint_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    """Its weights alone transcribe nothing; with or without peft."""
    if not installed:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (folder / CONFIG).unlink()
    (folder / WEIGHTS).unlink()
    assert f"and none lies there; copy {CONFIG} and {WEIGHTS}" in refused(folder)


@pytest.mark.parametrize("lost", [CONFIG, WEIGHTS])
def test_it_is_not_left_out_where_the_hub_cannot_say_whether_there_is_one(
    folder: Path, hub_cache: Callable[[str], Path], lost: str
) -> None:
    (folder / lost).unlink()
    shutil.copytree(folder, hub_cache("somebody/granite"), dirs_exist_ok=True)
    said = refused("somebody/granite", EnvironmentProblem)
    assert "of somebody/granite are not on this machine" in said


def test_half_an_adapter_is_refused(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    assert f"an adapter's weights are {WEIGHTS}, and here is none" in refused(folder)


def test_without_peft_it_says_what_to_install(
    folder: Path, hub_cache: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, hub_cache("somebody/granite"), dirs_exist_ok=True)
    monkeypatch.setattr(peft_adapter.importlib.util, "find_spec", lambda name: None)
    for place in (folder, "somebody/granite"):
        assert "pip install 'xbench[peft]'" in refused(place, EnvironmentProblem)


def test_one_that_does_not_fit_is_refused(folder: Path) -> None:
    pytest.importorskip("peft")
    weights = load_file(folder / WEIGHTS)
    lost = sorted(weights)[0]
    save_file({name: weight for name, weight in weights.items() if name != lost}, folder / WEIGHTS)
    said = refused(folder)
    assert "the adapter does not fit the weights beside it: it lacks weights" in said
    assert "of the same revision as the weights" in said


def test_a_weight_that_the_base_lacks_is_noticed_under_an_adapter(folder: Path) -> None:
    """Where peft is there, transformers would load the adapter itself and tell of its weights alone."""
    pytest.importorskip("peft")
    file = folder / "model.safetensors"
    weights = load_file(file)
    del weights["projector.linear.bias"]
    save_file(weights, file, metadata={"format": "pt"})
    assert "1 missing keys, for instance model.projector.linear.bias" in refused(folder)


def test_phi4_multimodal_keeps_that_for_speech_in_a_folder_below(
    tmp_path: Path, hub_cache: Callable[[str], Path]
) -> None:
    pytest.importorskip("peft")
    place = write_small("phi4_multimodal", tmp_path / "phi")
    base = load_model(f"phi4_multimodal:{place}", device="cpu")
    assert (base.info.base, base.info.format) == ("", "transformers")
    (place / "speech-lora").mkdir()
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": ["qkv_proj"]}
    (place / "speech-lora" / CONFIG).write_text(json.dumps(settings))
    generator = torch.Generator().manual_seed(1)
    change, expected = {}, {}
    for name, weight in base.network.state_dict().items():  # type: ignore[attr-defined]
        if name.endswith("qkv_proj.weight"):
            start = f"base_model.model.{name.removesuffix('.weight')}"
            down = torch.randn(RANK, weight.shape[1], generator=generator)
            up = torch.randn(weight.shape[0], RANK, generator=generator)
            change |= {f"{start}.lora_A.weight": down, f"{start}.lora_B.weight": up}
            expected[name] = weight + ALPHA / RANK * up @ down
    save_file(change, place / "speech-lora" / WEIGHTS)
    snapshot = hub_cache("somebody/phi")
    shutil.copytree(place, snapshot, dirs_exist_ok=True)
    assert len(expected) == 2
    for where in (place, "somebody/phi"):
        model = load_model(f"phi4_multimodal:{where}", device="cpu")
        own = model.network.state_dict()  # type: ignore[attr-defined]
        for name, weight in expected.items():
            torch.testing.assert_close(own[name], weight)
        assert model.info.format == "peft"
        at = base.info.revision if where == place else snapshot.name
        assert model.info.base == f"{model.info.source}@{at}"
    assert model.info.revision == snapshot.name
