"""Maps made elsewhere, scored on the references of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from xbench import Call, ExecutionOptions, RunSpec, evaluate
from xbench.errors import UsageError
from xbench.results import RunResult, read_result
from xbench.runner.keys import map_key
from xbench.runner.outside import read_maps, score_outside
from xbench.runner.plan import plan_methods
from xbench.runner.rescore import Change, change_from, stored_run
from xbench.store import Store

CLIPS = {"a": 0.6, "b": 0.8}
HEAD = {
    "schema": "xbench.maps/1",
    "name": "mine",
    "kind": "attention",
    "space": "encoder",
    "signed": False,
    "distribution": True,
    "uses_gradients": False,
}


@pytest.fixture(scope="module")
def made(
    tiny_whisper_folder: Path,
    clip: Callable[..., np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[RunResult, Store, dict[str, np.ndarray], tuple[int, ...]]:
    """A result of mean-heads, its store, its maps by utterance, and the rows of content tokens."""
    folder = tmp_path_factory.mktemp("outside")
    lines = []
    for number, (name, seconds) in enumerate(CLIPS.items()):
        soundfile.write(folder / f"{name}.wav", clip(seconds, number), 16_000, subtype="FLOAT")
        lines.append({"id": name, "audio": f"{name}.wav", "language": "en", "transcript": "one"})
    (folder / "clips.jsonl").write_text("\n".join(map(json.dumps, lines)))
    spec = RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=(Call("mean-heads"),),
        tasks=("asr",),
        data=str(folder / "clips.jsonl"),
        masks=12,
    )
    options = ExecutionOptions(str(folder / "results"), str(folder / "cache"), "cpu")
    (result,) = evaluate(spec, options)
    store = Store(folder / "cache")
    stored = stored_run([result], store, Change())
    (method,) = plan_methods(spec)
    maps = {}
    for utterance in stored.record.manifest.utterances:
        key = map_key(stored.record.info, stored.spoken[utterance.id], method)
        maps[utterance.id] = stored.shelf.artefact(key).arrays["values"]
    return result, store, maps, stored.spoken["a"].decoded.layout.content


def write(folder: Path, arrays: dict[str, Any], **changes: Any) -> Path:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    files = {name: f"{name}.npy" for name in arrays}
    (folder / "maps.json").write_text(json.dumps({**HEAD, "files": files, **changes}))
    return folder


@pytest.mark.parametrize("rows", ["all", "content"])
def test_the_same_maps_get_the_same_scores(made: Any, tmp_path: Path, rows: str) -> None:
    result, store, maps, content = made
    given = {n: m if rows == "all" else m[list(content)] for n, m in maps.items()}
    scored = score_outside(result, read_maps(write(tmp_path, given)), store, Change())
    assert scored.scores == result.scores
    assert scored.status == "complete"
    assert (scored.method.name, scored.method.params) == ("mine", {})
    assert (scored.cost.seconds, scored.cost.forward_passes) == (None, None)
    assert "method" not in {plugin["kind"] for plugin in scored.provenance.plugins}
    path = scored.write(tmp_path / "results")
    assert read_result(path) == scored
    assert path.name.startswith("mine-")


def test_npz_and_other_scoring(made: Any, tmp_path: Path) -> None:
    result, store, maps, _ = made
    for name, values in maps.items():
        np.savez(tmp_path / f"{name}.npz", map=values)
    write(tmp_path, {}, files={name: f"{name}.npz" for name in maps})
    change = change_from(["pearson"], ["last_frame=drop"])
    scored = score_outside(result, read_maps(tmp_path), store, change)
    assert {s.metric for s in scored.scores} == {"pearson"}
    assert scored.score("pearson", "spes-encoder").value != result.score("pearson").value


def test_utterances_without_a_map_are_counted(made: Any, tmp_path: Path) -> None:
    result, store, maps, _ = made
    given = read_maps(write(tmp_path, {"b": maps["b"]}))
    with pytest.warns(UserWarning, match="1 of 2 utterances have no map"):
        scored = score_outside(result, given, store, Change())
    assert (scored.status, [f.reason for f in scored.failures]) == ("partial", ["no-map"])
    assert scored.utterances["id"] == ["b"]


def test_maps_that_do_not_fit_are_refused_with_their_file(made: Any, tmp_path: Path) -> None:
    result, store, maps, content = made
    good = maps["a"]
    for array, changes, message in (
        (good[:, :-1], {}, "does not fit: expected"),
        (good[:-2], {}, "does not fit"),
        (good[None], {}, "does not fit"),
        (good * 2, {}, "a row sums to 2, not to one"),
        (-good, {"distribution": False}, "has negative values"),
        (good, {"space": "input"}, "mel"),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        maps_of = read_maps(write(folder, {"a": array}, **changes))
        with pytest.raises(UsageError, match=message) as caught:
            score_outside(result, maps_of, store, Change())
        assert "a.npy" in str(caught.value)
    only_content = read_maps(write(tmp_path, {"a": good[list(content)]}))
    with pytest.raises(UsageError, match="statistics=generated needs all"):
        score_outside(result, only_content, store, change_from([], ["statistics=generated"]))
    unknown = read_maps(write(tmp_path, {"x": good}))
    with pytest.raises(UsageError, match="no utterance 'x'"):
        score_outside(result, unknown, store, Change())


def test_folders_that_are_no_maps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder of maps needs one"):
        read_maps(tmp_path)
    (tmp_path / "maps.json").write_text("{")
    with pytest.raises(UsageError, match="not valid JSON"):
        read_maps(tmp_path)
    ones = np.ones((2, 3))
    for arrays, changes, message in (
        ({"a": ones}, {"kind": "magic"}, "kind"),
        ({"a": ones}, {"name": "mean-heads"}, "is a registered method"),
        ({"a": ones}, {"extra": 1}, "unknown key 'extra'"),
        ({}, {}, "files"),
        ({}, {"files": {"a": "none.npy"}}, "none.npy"),
        ({"a": ones * np.nan}, {}, "NaN or infinity"),
        ({"a": np.array(["x"])}, {}, "not numbers"),
        ({"a": np.array([{}])}, {}, "not a .npy or .npz"),
        ({}, {"files": {"a": "maps.json"}}, "maps.json"),
    ):
        with pytest.raises(UsageError, match=message):
            read_maps(write(tmp_path, arrays, **changes))
    np.savez(tmp_path / "two.npz", x=ones, y=ones)
    with pytest.raises(UsageError, match="has 2 arrays"):
        read_maps(write(tmp_path, {}, files={"a": "two.npz"}))
