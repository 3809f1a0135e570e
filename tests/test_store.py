from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xbench import store as store_module
from xbench.errors import EnvironmentProblem
from xbench.store import KINDS, Key, Store, default_folder, write_atomically

ARRAYS = {"values": np.arange(6, dtype=np.float32).reshape(2, 3), "file": np.array([True, False])}
FACTS = {"text": "grüße ☃", "seconds": 0.25, "none": None, "list": [1, 2]}


def key(kind: str = "map", **changes: Any) -> Key:
    return Key(kind, {"model": {"name": "m", "revision": "r1"}, "seed": 0, **changes})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def files(store: Store) -> list[Path]:
    return sorted(path for path in store.folder.rglob("*") if path.is_file())


def test_an_artefact_comes_back_as_it_was(store: Store) -> None:
    assert store.get(key()) is None
    assert not store.has(key())
    store.put(key(), ARRAYS, FACTS)
    assert store.has(key())
    found = store.get(key())
    assert found is not None
    assert sorted(found.arrays) == sorted(ARRAYS)
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[name], values)
        assert found.arrays[name].dtype == values.dtype
    assert found.facts == FACTS


def test_an_artefact_without_arrays_is_fine(store: Store) -> None:
    store.put(key("hypothesis"), {}, {"tokens": [1]})
    found = store.get(key("hypothesis"))
    assert found is not None
    assert (dict(found.arrays), found.facts) == ({}, {"tokens": [1]})


def test_putting_again_replaces(store: Store) -> None:
    store.put(key(), ARRAYS, {"n": 1})
    store.put(key(), ARRAYS, {"n": 2})
    found = store.get(key())
    assert found is not None
    assert found.facts == {"n": 2}
    assert len(files(store)) == 2


def test_every_ingredient_is_part_of_the_key() -> None:
    keys = [
        key(),
        key("reference"),
        key(seed=1),
        key(model={"name": "m", "revision": "r2"}),
        key(model={"name": "n", "revision": "r1"}),
        key(tokens=(1, 2)),
    ]
    assert len({k.digest for k in keys}) == len(keys)
    assert key(tokens=(1, 2)).digest == key(tokens=[1, 2]).digest


def test_two_models_in_one_cache_never_mix(store: Store) -> None:
    store.put(key(model={"revision": "r1"}), ARRAYS, {"from": "r1"})
    assert store.get(key(model={"revision": "r2"})) is None
    store.put(key(model={"revision": "r2"}), ARRAYS, {"from": "r2"})
    for revision in ("r1", "r2"):
        found = store.get(key(model={"revision": revision}))
        assert found is not None
        assert found.facts == {"from": revision}


# -- atomic ---------------------------------------------------------------------------------------


def test_a_crash_between_the_two_files_leaves_no_artefact(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(path: Path, payload: bytes) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        write_atomically(path, payload)

    monkeypatch.setattr(store_module, "write_atomically", crash)
    with pytest.raises(KeyboardInterrupt):
        store.put(key(), ARRAYS, FACTS)
    monkeypatch.undo()
    assert [path.suffix for path in files(store)] == [".npz"]
    assert not store.has(key())
    assert store.get(key()) is None
    assert store.verify() == []
    store.put(key(), ARRAYS, FACTS)
    assert store.get(key()) is not None


class _FullDisk:
    """A file that takes half of what is written, then has no more room."""

    def __init__(self, file: Any, error: int) -> None:
        self.file, self.error = file, error
        self.name = file.name

    def __enter__(self) -> _FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, payload: bytes) -> None:
        self.file.write(payload[: len(payload) // 2])
        raise OSError(self.error, "planned")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errno.ENOSPC, "is full; free some space"),
        (errno.EDQUOT, "is full; free some space"),
        (errno.EIO, "cannot write"),
    ],
)
def test_a_failing_disk_is_told_and_leaves_no_file(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: int, message: str
) -> None:
    original = store_module.tempfile.NamedTemporaryFile
    monkeypatch.setattr(
        store_module.tempfile,
        "NamedTemporaryFile",
        lambda **options: _FullDisk(original(**options), error),
    )
    with pytest.raises(EnvironmentProblem, match=message) as caught:
        store.put(key(), ARRAYS, FACTS)
    assert "\n" not in str(caught.value)
    assert files(store) == []


def test_an_interrupt_while_writing_leaves_no_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store_module.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.put(key(), ARRAYS, FACTS)
    assert files(store) == []


def test_a_failed_write_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    write_atomically(path, b"old")

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "planned")

    monkeypatch.setattr(store_module.os, "fsync", fail)
    with pytest.raises(EnvironmentProblem):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(EnvironmentProblem, match="choose another folder"):
        Store(tmp_path / "cache").put(key(), ARRAYS, FACTS)


def test_written_files_can_be_read_by_others(store: Store) -> None:
    store.put(key(), ARRAYS, FACTS)
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in files(store))


# -- damage ---------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def change_facts(path: Path) -> None:
    record = json.loads(path.read_text())
    del record["facts"]
    path.write_text(json.dumps(record))


DAMAGES: dict[str, Callable[[Path, Path], Any]] = {
    "a flipped bit": lambda arrays, facts: flip(arrays),
    "half of the arrays": lambda arrays, facts: arrays.write_bytes(arrays.read_bytes()[:100]),
    "no arrays": lambda arrays, facts: arrays.unlink(),
    "half of the facts": lambda arrays, facts: facts.write_text(facts.read_text()[:40]),
    "facts of another kind": lambda arrays, facts: facts.write_text("[]"),
    "lacking facts": lambda arrays, facts: change_facts(facts),
    "facts that are no text": lambda arrays, facts: facts.write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artefact_is_dropped_with_a_warning(store: Store, damage: str) -> None:
    store.put(key(), ARRAYS, FACTS)
    store.put(key(seed=1), ARRAYS, FACTS)
    arrays, facts = (store.folder.joinpath(p) for p in store._paths(key()))
    DAMAGES[damage](arrays, facts)
    assert len(store.verify()) == 1
    with pytest.warns(UserWarning, match="it is made again"):
        assert store.get(key()) is None
    assert not store.has(key())
    assert not arrays.exists()
    assert store.verify() == []
    assert store.get(key(seed=1)) is not None


def test_arrays_never_unpickle(store: Store) -> None:
    store.put(key(), {"values": np.array([{"an": "object"}], dtype=object)}, {})
    with pytest.warns(UserWarning, match="unreadable"):
        assert store.get(key()) is None


# -- housekeeping ---------------------------------------------------------------------------------


def test_summary_counts_artefacts_and_bytes(store: Store) -> None:
    assert store.summary() == {kind: {"artefacts": 0, "bytes": 0} for kind in KINDS}
    store.put(key(), ARRAYS, FACTS)
    store.put(key(seed=1), ARRAYS, FACTS)
    store.put(key("reference"), ARRAYS, FACTS)
    summary = store.summary()
    assert {kind: row["artefacts"] for kind, row in summary.items()} == {
        "hypothesis": 0,
        "map": 2,
        "reference": 1,
        "fit": 0,
        "run": 0,
        "intervention": 0,
        "gate": 0,
    }
    assert sum(row["bytes"] for row in summary.values()) == sum(
        path.stat().st_size for path in files(store)
    )


def test_clear_deletes_artefacts_and_nothing_else(store: Store) -> None:
    for kind in KINDS:
        store.put(key(kind), ARRAYS, FACTS)
    foreign = [store.folder / "notes.txt", store.folder / "other" / "file.npz"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    assert store.clear() == len(KINDS)
    assert files(store) == foreign
    assert store.clear() == 0


def test_clear_leaves_foreign_files_inside_the_folders_of_artefacts(store: Store) -> None:
    store.put(key(), ARRAYS, FACTS)
    foreign = [
        store.folder / "map" / "thesis.docx",
        store.folder / "map" / "photos" / "cat.jpg",
        store.folder / "map" / "it" / "data.json",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    assert store.verify() == []
    assert store.summary()["map"]["artefacts"] == 1
    assert store.clear() == 1
    assert sorted(files(store)) == sorted(foreign)


def test_the_cache_folder_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XBENCH_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("XBENCH_CACHE")
    assert default_folder().name == "xbench"
