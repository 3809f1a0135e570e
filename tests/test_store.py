from __future__ import annotations

import errno
import json
import os
import random
import tempfile
import warnings
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
    def crash(path: Path, payload: bytes, **_: bool) -> None:
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


def change_a_fact(path: Path) -> None:
    path.write_text(path.read_text().replace("0.25", "0.75"))


def rename_the_check(path: Path) -> None:
    path.write_text(path.read_text().replace('"check"', '"chekc"'))


def put_a_folder_in_its_place(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


DAMAGES: dict[str, Callable[[Path, Path], Any]] = {
    "a flipped bit": lambda arrays, facts: flip(arrays),
    "half of the arrays": lambda arrays, facts: arrays.write_bytes(arrays.read_bytes()[:100]),
    "no arrays": lambda arrays, facts: arrays.unlink(),
    "half of the facts": lambda arrays, facts: facts.write_text(facts.read_text()[:40]),
    "facts of another kind": lambda arrays, facts: facts.write_text("[]"),
    "lacking facts": lambda arrays, facts: change_facts(facts),
    "facts that are no text": lambda arrays, facts: facts.write_bytes(b"\xff\xfe"),
    "a changed fact": lambda arrays, facts: change_a_fact(facts),
    "a checksum under another name": lambda arrays, facts: rename_the_check(facts),
    "facts nested without end": lambda arrays, facts: facts.write_text("[" * 100_000),
    "a folder in the place of the facts": lambda arrays, facts: put_a_folder_in_its_place(facts),
    "a folder in the place of the arrays": lambda arrays, facts: put_a_folder_in_its_place(arrays),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artefact_is_set_aside_with_a_warning_and_made_again(
    store: Store, damage: str
) -> None:
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
    store.put(key(), ARRAYS, FACTS)
    assert store.get(key()) is not None
    assert store.clear() == 2
    assert list(store.folder.iterdir()) == []


def test_memory_that_runs_out_is_no_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Key("map", {"of": "memory"})
    store.put(key, {"values": np.ones(3)}, {})

    def refuse(path: str) -> bytes:
        raise OSError(errno.ENOMEM, "Cannot allocate memory", path)

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_content", refuse)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            store.get(key)
    assert store.get(key) is not None


def test_two_swapped_artefacts_are_noticed(store: Store) -> None:
    store.put(key(), ARRAYS, FACTS)
    store.put(key(seed=1), ARRAYS, {"text": "another"})
    for one, other in zip(store._paths(key()), store._paths(key(seed=1)), strict=True):
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
    assert len(store.verify()) == 2
    for each in (key(), key(seed=1)):
        with pytest.warns(UserWarning, match="another artefact than its name says"):
            assert store.get(each) is None


def test_artefacts_from_before_the_checksum_of_facts_are_still_read(store: Store) -> None:
    store.put(key(), ARRAYS, FACTS)
    facts = store._paths(key())[1]
    record = json.loads(facts.read_text())
    del record["check"]
    facts.write_text(json.dumps(record))
    found = store.get(key())
    assert found is not None
    assert found.facts == FACTS


def test_facts_with_numbers_as_keys_are_no_damage(store: Store) -> None:
    store.put(key(), {}, {"counts": {2: 1, 10: 3}})
    found = store.get(key())
    assert found is not None
    assert found.facts == {"counts": {"2": 1, "10": 3}}


def test_what_another_process_deletes_meanwhile_is_no_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(key(), {"x": np.ones(3)}, {})
    arrays, record = sorted(files(store), key=lambda path: path.suffix, reverse=True)
    found = store._files("map")

    def deleted(self: Store, kind: str) -> list[Path]:
        for path in found:
            path.unlink(missing_ok=True)
        return found if kind == "map" else []

    read = store_module._read

    def deletes_first(stem: str, *given: Any) -> Any:
        for path in found:
            path.unlink(missing_ok=True)
        return read(stem, *given)

    monkeypatch.setattr(store_module, "_read", deletes_first)
    assert store.verify() == []
    monkeypatch.setattr(Store, "_files", deleted)
    assert store.summary()["map"] == {"artefacts": 1, "bytes": 0}
    assert not arrays.exists()
    assert not record.exists()


def test_a_store_that_may_not_be_read_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    store.put(key(), ARRAYS, FACTS)
    monkeypatch.setattr(store_module, "_content", refuse)
    with pytest.raises(EnvironmentProblem, match=r"cannot read .*: Permission denied; choose"):
        store.get(key())


@pytest.mark.slow
def test_of_1500_random_damages_none_goes_unnoticed_and_each_heals(store: Store) -> None:
    generator = random.Random(0)
    hurt = 0
    for number in range(1500):
        own = key(seed=number)
        store.put(own, ARRAYS, FACTS)
        path = generator.choice(store._paths(own))
        before = path.read_bytes()
        path.write_bytes(damaged(before, generator))
        changed = path.read_bytes() != before
        hurt += changed
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = store.get(own)
        # What says the same in other bytes (a space more) is the same artefact.
        assert found is None or found.facts == FACTS
        assert found is not None or (changed and len(told) == 1)
        store.put(own, ARRAYS, FACTS)
        assert store.get(own) is not None
    assert hurt > 1400


def damaged(content: bytes, generator: random.Random) -> bytes:
    """Return bytes as a bad disk or a stray editor leaves them."""
    data, place = bytearray(content), generator.randrange(len(content))
    how = generator.choice(["flip", "cut", "zeros", "repeat", "insert", "delete", "swap"])
    length = generator.randint(1, 40)
    if how == "flip":
        data[place] ^= 1 << generator.randrange(8)
    elif how == "cut":
        del data[place:]
    elif how == "zeros":
        data[place : place + length] = bytes(len(data[place : place + length]))
    elif how == "repeat":
        data[place:place] = data[place : place + length]
    elif how == "insert":
        data[place:place] = generator.randbytes(length)
    elif how == "delete":
        del data[place : place + length]
    else:
        half = len(data) // 2
        data = data[half:] + data[:half]
    return bytes(data)


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
        "model": 0,
        "intervention": 0,
        "gate": 0,
        "block": 0,
    }
    assert sum(row["bytes"] for row in summary.values()) == sum(
        path.stat().st_size for path in files(store)
    )


def test_what_a_killed_process_left_is_removed_once_it_is_old(store: Store) -> None:
    store.put(key(), ARRAYS, FACTS)
    folder = store._paths(key())[0].parent
    old, new = folder / ".tmp-old", folder / ".tmp-new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert store.sweep() == 1
    assert not old.exists()
    assert new.exists()
    assert store.get(key()) is not None


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


@pytest.mark.parametrize("moment", ["folder", "file"])
def test_what_is_written_while_another_process_clears_the_store_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    cleared = []
    make, finish = tempfile.NamedTemporaryFile, Path.chmod

    def clear(asked: str) -> None:
        if asked == moment and not cleared:
            cleared.append(store.clear())

    def in_a_folder_that_is_gone(*given: Any, **named: Any) -> Any:
        clear("folder")
        return make(*given, **named)

    def of_a_file_that_is_gone(path: Path, mode: int) -> None:
        clear("file")
        finish(path, mode)

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", in_a_folder_that_is_gone)
    monkeypatch.setattr(Path, "chmod", of_a_file_that_is_gone)
    store.put(key(), ARRAYS, FACTS)
    assert len(cleared) == 1
    assert store.get(key()) is not None


def test_a_folder_that_goes_again_and_again_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: Any, **named: Any) -> Any:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", never)
    with pytest.raises(EnvironmentProblem, match=r"cannot write .*: No such file"):
        write_atomically(tmp_path / "file", b"")


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
