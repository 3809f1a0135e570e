"""A pack takes what a run estimated to another store, and nothing false comes in with it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xbench import Call, ExecutionOptions, RunSpec, evaluate
from xbench.errors import UsageError
from xbench.models.device import FLOAT16
from xbench.packs import file as pack_file
from xbench.packs import make_pack, named, open_pack
from xbench.packs.file import compacted, read_pack, restored
from xbench.packs.making import LARGEST_MOVE, largest_move
from xbench.results import RunResult, parse_result
from xbench.runner import keys
from xbench.runner.rescore import rescore
from xbench.spec import canonical_json, content_hash
from xbench.store import Artefact, Key, Store


@pytest.fixture(scope="module")
def spec(
    tiny_whisper_folder: Path,
    clip: Callable[..., np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> RunSpec:
    folder = tmp_path_factory.mktemp("packs")
    lines = []
    for number, (name, seconds) in enumerate({"a": 0.6, "b": 0.8}.items()):
        soundfile.write(folder / f"{name}.wav", clip(seconds, number), 16_000, subtype="FLOAT")
        lines.append({"id": name, "audio": f"{name}.wav", "language": "en", "transcript": "one"})
    (folder / "clips.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=(Call("mean-heads"), Call("saliency")),
        tasks=("asr",),
        data=str(folder / "clips.jsonl"),
        masks=24,
        metrics=(Call("pearson"), Call("pearson-paper")),
    )


def run(spec: RunSpec, folder: Path) -> list[RunResult]:
    return evaluate(
        spec,
        ExecutionOptions(output=str(folder / "results"), cache=str(folder / "cache"), device="cpu"),
    )


@pytest.fixture(scope="module")
def made(spec: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[RunResult], Store]:
    folder = tmp_path_factory.mktemp("made")
    return run(spec, folder), Store(folder / "cache")


@pytest.fixture(scope="module")
def pack(made: tuple[list[RunResult], Store], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "tiny.xpack"
    make_pack(*made, path)
    return path


def test_another_store_scores_a_new_method_against_the_references_of_a_pack(
    spec: RunSpec,
    made: tuple[list[RunResult], Store],
    pack: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = open_pack(pack, Store(tmp_path / "cache"), "cpu")
    assert opened.added == {"hypothesis": 2, "reference": 4}
    assert not opened.other

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a reference was estimated")

    monkeypatch.setattr("xbench.references.spes.estimate", refuse)
    monkeypatch.setattr("xbench.runner.stages._written", refuse)
    results = run(replace(spec, methods=(*spec.methods, Call("value-norm"))), tmp_path)
    assert [r.status for r in results] == ["complete"] * 3
    assert largest_move(made[0], results[:2]) <= LARGEST_MOVE
    sha256 = opened.sha256[:12]
    assert all(r.computation["pack"] == {sha256: 2} for x in results for r in x.references)


def test_equal_runs_make_equal_packs(
    made: tuple[list[RunResult], Store], pack: Path, tmp_path: Path
) -> None:
    make_pack(*made, tmp_path / "again.xpack")
    assert (tmp_path / "again.xpack").read_bytes() == pack.read_bytes()


def test_with_maps_it_is_scored_again_without_the_model_and_names_no_folder(
    spec: RunSpec, made: tuple[list[RunResult], Store], tmp_path: Path
) -> None:
    facts = make_pack(*made, tmp_path / "all.xpack", maps=True)
    assert facts["artefacts"]["map"] >= 4
    assert facts["artefacts"]["run"] == 1
    store = Store(tmp_path / "cache")
    open_pack(tmp_path / "all.xpack", store, "cpu")
    assert largest_move(made[0], rescore(made[0], store)) <= LARGEST_MOVE
    with zipfile.ZipFile(tmp_path / "all.xpack") as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert str(Path(str(spec.data)).parent).encode() not in everything


def test_16_bits_are_off_by_half_a_step_at_most() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 50, (2, 7))
    counts[0, 3] = 0
    sums = rng.normal(0, 3, (2, 3, 7)) * counts[:, None, :]
    sums[1, 2] = 7.0 * counts[1]  # a constant row
    again = restored(compacted(Artefact({"sums": sums, "counts": counts}, {})))
    assert again.keys() == {"sums", "counts"}
    before, after = (each / np.maximum(counts, 1)[:, None] for each in (sums, again["sums"]))
    bound = (before.max(-1) - before.min(-1)) / 65_535 / 2
    error = np.abs(after - before).max(-1)
    assert (error <= bound * (1 + 1e-9) + 1e-12).all()
    assert error.max() > 0
    assert after[1, 2] == pytest.approx(7.0)
    assert (again["sums"][0, :, 3] == 0).all()


def test_a_pack_says_by_how_much_scores_moved(
    made: tuple[list[RunResult], Store], tmp_path: Path
) -> None:
    facts = make_pack(*made, tmp_path / "again.xpack")
    assert facts["compact"] is True
    assert 0 < facts["moved"] <= LARGEST_MOVE


def test_values_floors_and_ceilings_count_as_moves(made: tuple[list[RunResult], Store]) -> None:
    result = made[0][0]
    (score, *others) = result.scores
    assert score.value is not None
    assert score.floor.value is not None
    assert score.ceiling.value is not None
    for changed in (
        replace(score, value=score.value + 0.25),
        replace(score, floor=replace(score.floor, value=score.floor.value + 0.25)),
        replace(score, ceiling=replace(score.ceiling, value=score.ceiling.value - 0.25)),
    ):
        moved = largest_move([result], [replace(result, scores=[changed, *others])])
        assert moved == pytest.approx(0.25)
    gone = replace(result, scores=[replace(score, value=None), *others])
    assert largest_move([result], [gone]) == float("inf")


def test_a_machine_with_other_precisions_finds_references_under_its_own_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        keys, "fast_precisions", lambda device: {"cpu": (), "cuda": (FLOAT16,)}[device]
    )
    there = Key("reference", {"audio": "0", "fast": ["bfloat16"]})
    assert keys.key_here(there, "cpu").ingredients == {"audio": "0", "fast": []}
    assert keys.key_here(there, "cuda").ingredients == {"audio": "0", "fast": ["float16"]}
    without = Key("reference", {"audio": "0"})
    assert keys.key_here(without, "cuda") == without


def test_numbers_stay_as_they_were_where_16_bits_would_move_a_score(
    made: tuple[list[RunResult], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xbench.packs.making.LARGEST_MOVE", -1.0)
    facts = make_pack(*made, tmp_path / "full.xpack")
    assert facts["compact"] is False
    packed, _ = read_pack(tmp_path / "full.xpack")
    for key, artefact in packed.artefacts:
        stored = made[1].get(key)
        assert stored is not None
        for name, array in artefact.arrays.items():
            np.testing.assert_array_equal(array, stored.arrays[name])


def test_other_versions_of_packages_are_told_and_found_all_the_same(
    spec: RunSpec, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_versions", lambda: {"torch": "99.0", "transformers": "99.1"})
    opened = open_pack(pack, Store(tmp_path / "cache"), "cpu")
    assert len(opened.other) == 2
    assert all(", here 99." in line for line in opened.other)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a reference was estimated")

    monkeypatch.setattr("xbench.references.spes.estimate", refuse)
    assert [r.status for r in run(spec, tmp_path)] == ["complete"] * 2


def test_what_lies_in_the_store_stays(
    made: tuple[list[RunResult], Store], pack: Path, tmp_path: Path
) -> None:
    opened = open_pack(pack, made[1], "cpu")
    assert not opened.added
    assert opened.present == 6


def test_a_result_names_its_pack(made: tuple[list[RunResult], Store]) -> None:
    marked = named(made[0][0], Path("folder/tiny.xpack"), "0" * 64)
    again = parse_result(json.loads(marked.to_json()), "it")
    assert again.pack is not None
    assert again.pack.file == "tiny.xpack"


def test_results_of_two_models_are_no_pack(
    made: tuple[list[RunResult], Store], tmp_path: Path
) -> None:
    results, store = made
    other = replace(results[1], model=replace(results[1].model, revision="f" * 40))
    with pytest.raises(UsageError, match="a pack is of one model; these results are of"):
        make_pack([results[0], other], store, tmp_path / "no.xpack")
    with pytest.raises(UsageError, match="no result to pack"):
        make_pack([], store, tmp_path / "no.xpack")
    with pytest.raises(UsageError, match="evaluate again"):
        make_pack(results, Store(tmp_path / "empty"), tmp_path / "no.xpack")
    assert not (tmp_path / "no.xpack").exists()


# -- damage and forgery -----------------------------------------------------------------------------


def rewritten(pack: Path, out: Path, change: Callable[[dict, dict[str, bytes]], None]) -> Path:
    """Write a pack again with another index or other entries, its own checksum made good."""
    with zipfile.ZipFile(pack) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    index = json.loads(entries.pop("pack.json"))
    del index["check"]
    change(index, entries)
    index["check"] = content_hash(index)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        archive.writestr("pack.json", canonical_json(index))
    return out


def _other_key(index: dict, _: dict) -> None:
    index["artefacts"][0]["ingredients"]["audio"] = "0" * 64


def _other_kind(index: dict, _: dict) -> None:
    index["artefacts"][0]["kind"] = "../../etc"


def _other_array(_: dict, entries: dict[str, bytes]) -> None:
    name = next(name for name in entries if name.endswith("counts.npy"))
    entries[name] = entries[name][:-8] + b"\xff" * 8


def _no_facts(index: dict, _: dict) -> None:
    index["artefacts"][0]["facts"] = [1]


def _no_arrays(index: dict, _: dict) -> None:
    del index["artefacts"][0]["arrays"]


def _lost_entry(_: dict, entries: dict[str, bytes]) -> None:
    del entries[next(iter(entries))]


def _pickled(index: dict, entries: dict[str, bytes]) -> None:
    import hashlib

    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for entry in index["artefacts"]:
        for stated in entry["arrays"].values():
            entries[stated["file"]] = buffer.getvalue()
            stated["sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_other_key, "is another artefact than its name says"),
        (_other_kind, "is no kind of artefact that packs hold"),
        (_other_array, "has a wrong checksum"),
        (_no_facts, "has facts of another kind"),
        (_no_arrays, "a field is missing or of another kind"),
        (_lost_entry, "a field is missing or of another kind"),
        (_pickled, "the pack is damaged"),
    ],
)
def test_a_pack_that_does_not_agree_with_itself_leaves_the_store_untouched(
    pack: Path, tmp_path: Path, change: Callable[[dict, dict[str, bytes]], None], says: str
) -> None:
    bad = rewritten(pack, tmp_path / "bad.xpack", change)
    with pytest.raises(UsageError, match=says):
        open_pack(bad, Store(tmp_path / "cache"), "cpu")
    assert not (tmp_path / "cache").exists()


def test_an_index_that_was_changed_without_its_checksum_is_refused(
    pack: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(pack) as archive, zipfile.ZipFile(tmp_path / "bad.xpack", "w") as bad:
        for name in archive.namelist():
            content = archive.read(name)
            bad.writestr(name, content.replace(b'"moved":', b'"moved ":'))
    with pytest.raises(UsageError, match=r"pack\.json has a wrong checksum"):
        read_pack(tmp_path / "bad.xpack")


def test_every_flipped_byte_is_a_sentence_or_changes_nothing(pack: Path, tmp_path: Path) -> None:
    content = pack.read_bytes()
    whole = read_pack(pack)[0]
    refused = 0
    for place in np.linspace(0, len(content) - 1, 200, dtype=int):
        flipped = bytearray(content)
        flipped[place] ^= 0xFF
        (tmp_path / "flipped.xpack").write_bytes(flipped)
        try:
            found = read_pack(tmp_path / "flipped.xpack")[0]
        except UsageError as problem:
            assert str(problem).startswith(str(tmp_path / "flipped.xpack"))  # noqa: PT017
            refused += 1
        else:
            assert [key for key, _ in found.artefacts] == [key for key, _ in whole.artefacts]
    assert refused > 100


def _huge_shape(index: dict, entries: dict[str, bytes]) -> None:
    import hashlib

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**14,)}
    )
    for entry in index["artefacts"]:
        for stated in entry["arrays"].values():
            entries[stated["file"]] = buffer.getvalue()
            stated["sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()


def test_a_header_that_claims_more_than_there_is_is_a_sentence(pack: Path, tmp_path: Path) -> None:
    bad = rewritten(pack, tmp_path / "bad.xpack", _huge_shape)
    with pytest.raises(UsageError, match="the pack is damaged"):
        read_pack(bad)


def test_every_truncation_is_a_sentence(pack: Path, tmp_path: Path) -> None:
    content = pack.read_bytes()
    for end in np.linspace(0, len(content) - 1, 25, dtype=int):
        (tmp_path / "cut.xpack").write_bytes(content[:end])
        with pytest.raises(UsageError, match=r"cut\.xpack: "):
            read_pack(tmp_path / "cut.xpack")


def test_an_entry_that_unpacks_to_more_than_allowed_is_refused(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_file, "ARRAY_BYTES", 100)
    with pytest.raises(UsageError, match=r"is larger than the 0\.0001 MB allowed"):
        read_pack(pack)


def test_all_entries_together_are_bounded_too(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(pack) as archive:
        sizes = [i.file_size for i in archive.infolist() if i.filename.endswith(".npy")]
    monkeypatch.setattr(pack_file, "ALL_BYTES", sum(sizes) - 1)
    with pytest.raises(UsageError, match=r"is larger than the .* MB allowed"):
        read_pack(pack)
    monkeypatch.setattr(pack_file, "ALL_BYTES", sum(sizes))
    assert len(read_pack(pack)[0].artefacts) == 6


def test_half_a_pack_and_a_pointer_to_one_are_told(pack: Path) -> None:
    pack.write_bytes(pack.read_bytes()[: pack.stat().st_size // 2])
    with pytest.raises(UsageError, match="the pack is damaged: it is cut off; get it again"):
        read_pack(pack)
    pack.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\n")
    with pytest.raises(UsageError, match="pointer of Git LFS and not the file itself"):
        read_pack(pack)


def test_what_is_no_pack_is_said(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no")
    with pytest.raises(UsageError, match="this is no pack"):
        read_pack(tmp_path / "text")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(UsageError, match=r"it holds no pack\.json"):
        read_pack(tmp_path / "other.zip")
    with zipfile.ZipFile(tmp_path / "next.zip", "w") as archive:
        archive.writestr("pack.json", '{"schema": "xbench.pack/2"}')
    with pytest.raises(UsageError, match=r"this version reads 'xbench\.pack/1'"):
        read_pack(tmp_path / "next.zip")
