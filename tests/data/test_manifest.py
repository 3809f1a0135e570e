"""Manifests: what is read, selected and refused, and what the fingerprint depends on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xbench import registry
from xbench.data import foreign
from xbench.data import manifest as manifest_module
from xbench.data.audio import audio_seconds, audio_sha256, read_audio
from xbench.data.datasets import manifest_path, utterances_for
from xbench.data.demo import DEMO, demo_manifest
from xbench.data.manifest import (
    Manifest,
    NothingSelected,
    Word,
    probable_misspellings,
    read_manifest,
)
from xbench.description import DatasetDescription, Description
from xbench.errors import EnvironmentProblem, UsageError
from xbench.registry import Entry
from xbench.schemas import InvalidFile
from xbench.spec import (
    Call,
    Dataset,
    Decoding,
    Headline,
    Quality,
    Scoring,
    Selection,
    TaskSpec,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        samples = np.random.default_rng(ord(name)).normal(0, 0.1, 1600)
        soundfile.write(tmp_path / f"{name}.wav", samples, 16_000)
    return tmp_path


def line(id: str = "a", **fields: Any) -> dict[str, Any]:
    return {"id": id, "audio": f"{id}.wav", "language": "en", "transcript": f"text {id}", **fields}


def write(folder: Path, *lines: dict[str, Any] | str, name: str = "m.jsonl") -> Path:
    path = folder / name
    texts = [item if isinstance(item, str) else json.dumps(item) for item in lines]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def problems_of(path: Path, **selected: Any) -> list[str]:
    with pytest.raises(InvalidFile) as caught:
        read_manifest(path, **selected)
    text = str(caught.value).splitlines()
    count = "1 problem" if len(text) == 2 else f"{len(text) - 1} problems"
    assert text[0] == f"{path}: {count}"
    assert [t.strip() for t in text[1:]] == list(caught.value.problems)
    return list(caught.value.problems)


def ids(manifest: Manifest) -> list[str]:
    return [u.id for u in manifest.utterances]


def test_every_field_is_read(folder: Path) -> None:
    words = [{"word": "text", "start": 0, "end": 0.05, "phones": []}]
    full = line("a", translation_it="testo", translation_de="Text", cluster="s1", words=words, x=1)
    manifest = read_manifest(write(folder, full, line("b")))
    first, second = manifest.utterances
    assert first.audio == folder / "a.wav"
    assert first.translations == (("de", "Text"), ("it", "testo"))
    assert (first.cluster, first.cluster_assumed) == ("s1", False)
    assert first.words == (Word("text", 0.0, 0.05),)
    assert first.audio_sha256 == audio_sha256(folder / "a.wav")
    assert (second.cluster, second.cluster_assumed) == ("b", True)
    assert (second.translations, second.words) == ((), None)
    assert manifest.name == "m"


def test_the_target_text_is_the_transcript_or_the_translation(folder: Path) -> None:
    path = write(folder, line(translation_it="testo", translation_de=None, translation_fr=""))
    (utterance,) = read_manifest(path).utterances
    assert utterance.target_text(None) == "text a"
    assert utterance.target_text("it") == "testo"
    assert [utterance.target_text(language) for language in ("de", "fr", "es")] == [None] * 3


def test_audio_is_read_through_an_utterance(folder: Path) -> None:
    (utterance,) = read_manifest(write(folder, line())).utterances
    np.testing.assert_array_equal(
        read_audio(utterance.audio, 16_000), read_audio(folder / "a.wav", 16_000)
    )


def test_bom_blank_lines_and_windows_line_ends_are_tolerated(folder: Path) -> None:
    path = folder / "m.jsonl"
    text = f"\ufeff{json.dumps(line('a'))}\r\n\r\n{json.dumps(line('b'))}"
    path.write_bytes(text.encode())
    assert ids(read_manifest(path)) == ["a", "b"]


def test_only_newlines_end_a_line(folder: Path) -> None:
    text = "one\u2028two\x85three"
    path = write(folder, json.dumps(line(transcript=text), ensure_ascii=False))
    assert read_manifest(path).utterances[0].transcript == text


BAD_LINES = {
    "{": "not JSON: Expecting property name enclosed in double quotes (column 2)",
    "3": "expected a mapping, found the number 3",
    '{"id": NaN}': "not JSON: NaN is not a number; write null",
    '{"id": "a", "duration_s": 1' + "0" * 400 + "}": "the number 100000000000... (401 characters)",
    '{"id": "a", "id": "b"}': "field 'id' is given twice",
    json.dumps(line("")): "id: '' is not an id: ",
    json.dumps(line(7)): "id: expected a text, found the number 7",
    json.dumps(line(language=None)): "language: expected a text, found null",
    json.dumps(line(audio="")): "audio: must not be empty",
    json.dumps(line(cluster=3)): "cluster: expected a text or null, found the number 3",
    json.dumps(line(translation_en=[])): "translation_en: expected a text or null, found a list",
    json.dumps(line(words=[{"word": "a", "start": 1.5, "end": 1}])): (
        "words[0]: end 1 is before start 1.5"
    ),
    json.dumps(
        line(words=[{"word": "a", "start": 1, "end": 2}, {"word": "b", "start": 0.5, "end": 1}])
    ): "words[1]: it starts at 0.5, the word before it at 1; sort words by time",
    json.dumps(
        line(words=[{"word": "a", "start": 0, "end": 2}, {"word": "b", "start": 1.8, "end": 3}])
    ): (
        "words[1]: it starts at 1.8, before the word before it ends at 2; give each word its own time"
    ),
    json.dumps(line(words=[{"word": " ", "start": 1, "end": 2}])): (
        "words[0]: it is blank; leave out what is no word, such as silence"
    ),
    json.dumps(line(words=[{"word": "a", "start": 1}])): "words[0]: missing key 'end'",
    json.dumps(line(words=[{"word": "a", "start": -1, "end": 1}])): (
        "words[0].start: must be at least 0, found the number -1"
    ),
    '{"id": "a", "words": [{"end": 1e999}]}': "the number 1e999 is not finite",
    json.dumps({"id": "a", "audio": "a.wav", "language": "en"}): "missing key 'transcript'",
    json.dumps(line(transcript="\ud800")): "not Unicode text: it holds half of a surrogate pair",
    "[" * 100_000: "not usable JSON: nested too deeply",
}


@pytest.mark.parametrize("bad", BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_bad_line_is_told_with_its_number(folder: Path, bad: str) -> None:
    found = problems_of(write(folder, line("b"), "", bad))
    assert found[0].startswith(f"line 3: {BAD_LINES[bad]}")


def test_bytes_that_are_not_utf8(folder: Path) -> None:
    path = folder / "m.jsonl"
    path.write_bytes(json.dumps(line()).encode() + b'\n{"id": "\xff"}\n')
    assert problems_of(path) == ["line 2: not UTF-8 (byte 9)"]


def test_all_problems_are_told_in_the_order_of_lines(folder: Path) -> None:
    path = write(folder, line("a"), "{", line("b", language=1, transcript=2), line("a"))
    assert [p.split(":")[0] for p in problems_of(path)] == ["line 2", "line 3", "line 3", "line 4"]


def test_a_repeated_id_names_both_lines(folder: Path) -> None:
    path = write(folder, line("a"), line("b"), line("a", language=1))
    assert "line 3: id 'a' is the id of line 1" in problems_of(path)


def test_ids_that_look_the_same_are_refused(folder: Path) -> None:
    (problem,) = problems_of(write(folder, line("\u00e9"), line("e\u0301")))
    assert problem.startswith("line 2: ")
    assert problem.endswith("looks like but differs in Unicode form from the id of line 1")


def test_ids_that_differ_in_case_are_two_ids(folder: Path) -> None:
    path = write(folder, line("a"), line("A", audio="a.wav"))
    assert ids(read_manifest(path)) == ["a", "A"]


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_manifest_is_refused(folder: Path, content: str) -> None:
    path = folder / "m.jsonl"
    path.write_text(content)
    assert problems_of(path) == ["no utterances; every line holds one JSON object"]


def test_a_null_byte_in_the_name_of_a_clip_is_a_problem_of_its_line(folder: Path) -> None:
    (problem,) = problems_of(write(folder, line("a"), line("nul", audio="a\0b")))
    assert problem.startswith("line 2: audio of 'nul': ")
    assert "this is no file name (embedded null byte)" in problem


@pytest.mark.parametrize("audio", ["n" * 300, "n" * 300 + "/a.wav", "a\0b/c.wav"])
def test_a_path_that_no_system_takes_is_a_problem_of_its_line(folder: Path, audio: str) -> None:
    (problem,) = problems_of(write(folder, line("a"), line("odd", audio=audio)))
    assert problem.startswith("line 2: audio of 'odd': ")
    assert "cannot be read: " in problem


def test_a_manifest_has_a_largest_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "MANIFEST_BYTES", 100)
    with pytest.raises(UsageError, match=r"cannot be read: .* MB are more than"):
        read_manifest(write(folder, *[line(str(n)) for n in range(10)]))


def test_without_reading_audio_what_the_lines_state_counts(folder: Path) -> None:
    path = write(folder, line("a", sha256="AB" * 32), line("gone"))
    found = read_manifest(path, hashed=None)
    assert [u.audio_sha256 for u in found.utterances] == ["ab" * 32, ""]


def test_a_folder_or_missing_path_is_told(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read: Is a directory"):
        read_manifest(folder)
    with pytest.raises(UsageError, match=r"none\.jsonl cannot be read: No such file"):
        read_manifest(folder / "none.jsonl")


def test_missing_audio_is_only_looked_for_where_it_is_used(folder: Path) -> None:
    path = write(folder, line("a"), line("gone"), line("b", audio="."))
    assert ids(read_manifest(path, selection=Selection(limit=1))) == ["a"]
    assert ids(read_manifest(path, selection=Selection(ids=("a",)))) == ["a"]
    found = problems_of(path)
    assert [p.partition(": audio of ")[::2] for p in found] == [
        ("line 2", f"'gone': {folder / 'gone.wav'}: cannot be read: No such file or directory"),
        ("line 3", f"'b': {folder}: cannot be read: Is a directory"),
    ]


def test_structure_is_checked_outside_the_selection_too(folder: Path) -> None:
    path = write(folder, line("a"), line("b", transcript=1))
    assert len(problems_of(path, selection=Selection(ids=("a",)))) == 1


def test_ids_keep_the_order_of_the_file_and_limit_comes_after(folder: Path) -> None:
    path = write(folder, line("a"), line("b"), line("c"))
    assert ids(read_manifest(path, selection=Selection(ids=("c", "b", "c")))) == ["b", "c"]
    assert ids(read_manifest(path, selection=Selection(ids=("c", "b"), limit=1))) == ["b"]
    assert ids(read_manifest(path, selection=Selection(limit=9))) == ["a", "b", "c"]


def test_unknown_ids_are_named_with_the_nearest(folder: Path) -> None:
    path = write(folder, line("clip-1", audio="a.wav"))
    with pytest.raises(UsageError, match=r"'clip-2', did you mean 'clip-1'\?; nor 'zzz'"):
        read_manifest(path, selection=Selection(ids=("clip-2", "clip-1", "zzz")))


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(folder: Path, limit: int) -> None:
    with pytest.raises(UsageError, match="limit must be at least 1"):
        read_manifest(write(folder, line()), selection=Selection(limit=limit))


def test_languages_are_filtered_before_the_limit(folder: Path) -> None:
    path = write(folder, line("a"), line("b", language="it"), line("c", language="de"))
    chosen = read_manifest(path, languages=("de", "it"), selection=Selection(limit=1))
    assert ids(chosen) == ["b"]


def test_clips_without_the_translation_are_left_out(folder: Path) -> None:
    lines = line("a"), line("b", translation_it="x"), line("c", translation_it=None)
    assert ids(read_manifest(write(folder, *lines), target_language="it")) == ["b"]


def test_nothing_left_says_what_there_is(folder: Path) -> None:
    path = write(folder, line("a"), line("b"), line("c", language="it"))
    with pytest.raises(NothingSelected) as caught:
        read_manifest(path, languages=("de", "fr"), target_language="en")
    assert str(caught.value) == (
        f"{path} has no clip in de or fr with a translation into en; "
        "of the clips asked for it has 2 in en, 1 in it"
    )


# The fingerprint


def test_the_fingerprint_does_not_depend_on_where_things_lie(folder: Path, tmp_path: Path) -> None:
    before = read_manifest(write(folder, line("a"), line("b"))).fingerprint
    moved = tmp_path / "elsewhere"
    (moved / "audio").mkdir(parents=True)
    for name in ("a", "b"):
        shutil.copy(folder / f"{name}.wav", moved / "audio" / f"other-{name}.wav")
    lines = [line(n, audio=f"audio/other-{n}.wav", extra=1) for n in ("b", "a")]
    assert read_manifest(write(moved, *lines, name="other.jsonl")).fingerprint == before


@pytest.mark.parametrize(
    "change",
    [
        {"id": "z", "cluster": "a"},
        {"audio": "b.wav"},
        {"language": "it"},
        {"transcript": "text"},
        {"translation_it": "x"},
        {"cluster": "s1"},
    ],
)
def test_the_fingerprint_depends_on_every_part_of_the_content(folder: Path, change: dict) -> None:
    before = read_manifest(write(folder, line("a"))).fingerprint
    assert read_manifest(write(folder, {**line("a"), **change})).fingerprint != before


def test_the_fingerprint_is_of_the_selected_utterances(folder: Path) -> None:
    path = write(folder, line("a"), line("b"))
    whole, part = read_manifest(path), read_manifest(path, selection=Selection(limit=1))
    assert whole.fingerprint != part.fingerprint
    assert part.fingerprint == read_manifest(write(folder, line("a"), name="n.jsonl")).fingerprint


def test_a_changed_recording_changes_the_fingerprint(folder: Path) -> None:
    path = write(folder, line("a"))
    before = read_manifest(path).fingerprint
    shutil.copy(folder / "b.wav", folder / "a.wav")
    assert read_manifest(path).fingerprint != before


_VALUES = st.one_of(
    st.none(), st.text(max_size=6), st.integers(), st.floats(), st.lists(st.integers())
)
_FIELDS = st.sampled_from(
    ["id", "audio", "language", "transcript", "cluster", "translation_en", "words", "x"]
)


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150
)
@given(st.lists(st.dictionaries(_FIELDS, _VALUES), max_size=4), st.binary(max_size=20))
def test_any_file_is_read_or_refused_in_words(folder: Path, lines: list, tail: bytes) -> None:
    path = folder / "fuzz.jsonl"
    whole = [{**line("a"), **fields} for fields in lines]
    path.write_bytes(b"\n".join(json.dumps(fields).encode() for fields in whole) + b"\n" + tail)
    try:
        manifest = read_manifest(path)
    except UsageError:
        return
    assert manifest.utterances


# Datasets


TASK = TaskSpec(
    name="t",
    version=1,
    title="T",
    kind="asr",
    source_languages=("en",),
    target_language=None,
    dataset=Dataset("fake", dev_split="dev"),
    decoding=Decoding(),
    space="encoder",
    references=(),
    scoring=Scoring(),
    metrics=(),
    headline=Headline("m", "r"),
    floor=Call("f"),
    quality=Quality("wer", 50.0),
    preset="fast",
    licence="CC0-1.0",
)
_FAKE_MANIFEST: dict[str, Path] = {}


def fake_manifest(split: str) -> Path:
    return _FAKE_MANIFEST[split]


@pytest.fixture
def dataset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Register a dataset `fake` whose test split exists and whose dev split does not."""
    path = write(folder, line("a"), line("b", language="it", translation_en="x"), name="test.jsonl")
    monkeypatch.setitem(_FAKE_MANIFEST, "test", path)
    monkeypatch.setitem(_FAKE_MANIFEST, "dev", folder / "dev.jsonl")
    fake = DatasetDescription(
        name="fake",
        version="1",
        summary="",
        source="",
        implementation=f"{__name__}:fake_manifest",
        licence="CC0-1.0",
        splits={"test": "", "dev": ""},
    )
    entry: Entry[Description] = Entry("fake", "here", "1", "", fake, None)
    monkeypatch.setattr(registry, "_load", lambda group, kind: [entry])
    return path


def test_a_registered_dataset_gives_its_manifest(dataset: Path) -> None:
    assert manifest_path(TASK.dataset, "test") == dataset
    manifest = utterances_for(TASK, None, Selection(), "test")
    assert (ids(manifest), manifest.name) == (["a"], "fake")


def test_an_unknown_dataset_or_split_offers_the_nearest(dataset: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown dataset 'fakes', did you mean 'fake'"):
        manifest_path(Dataset("fakes"), "test")
    with pytest.raises(
        UsageError, match=r"no split 'tests', did you mean 'test'\?; it has test, dev"
    ):
        manifest_path(TASK.dataset, "tests")


def test_absent_files_are_a_problem_of_the_machine(dataset: Path) -> None:
    with pytest.raises(
        EnvironmentProblem, match=r"dataset 'fake': .*dev\.jsonl is not on this machine"
    ):
        utterances_for(TASK, None, Selection(), "dev")


def test_data_replaces_the_dataset(dataset: Path, folder: Path) -> None:
    path = write(folder, line("c"), name="mine.jsonl")
    manifest = utterances_for(TASK, str(path), Selection(), "test")
    assert (ids(manifest), manifest.name) == (["c"], "mine")


def test_data_never_stands_for_the_dev_split(dataset: Path) -> None:
    with pytest.raises(UsageError, match="--data stands for split 'test', not 'dev'"):
        utterances_for(TASK, str(dataset), Selection(), "dev")


def test_a_task_without_a_dataset_needs_data(dataset: Path) -> None:
    task = replace(TASK, dataset=Dataset("manifest"))
    with pytest.raises(UsageError, match=r"^task 't' needs --data MANIFEST\.jsonl$"):
        utterances_for(task, None, Selection(), "test")
    assert ids(utterances_for(task, str(dataset), Selection(), "test")) == ["a"]


def test_a_translation_task_takes_translated_clips(dataset: Path) -> None:
    task = replace(TASK, kind="st", source_languages=(), target_language="en")
    assert ids(utterances_for(task, None, Selection(), "test")) == ["b"]


def test_no_clip_for_a_task_names_the_task(dataset: Path) -> None:
    task = replace(TASK, source_languages=("fr",))
    with pytest.raises(
        NothingSelected, match=r"^task 't': .*has no clip in fr; .*1 in en, 1 in it"
    ):
        utterances_for(task, None, Selection(), "test")


def test_the_demo_data_are_packaged_with_two_splits_disjoint_by_voice_and_sentence() -> None:
    test, dev = (read_manifest(demo_manifest(split)) for split in DEMO.splits)
    for part in ("cluster", "transcript", "audio_sha256"):
        tested, fitted = ({getattr(u, part) for u in m.utterances} for m in (test, dev))
        assert not tested & fitted
    for manifest in (test, dev):
        assert {u.language for u in manifest.utterances} == {"en", "it", "de", "fr"}
        assert all(u.words and not u.cluster_assumed for u in manifest.utterances)
        assert all(u.target_text("en") for u in manifest.utterances if u.language != "en")


# Mistakes that are allowed


def test_a_stated_checksum_must_be_that_of_the_file(folder: Path) -> None:
    digest = audio_sha256(folder / "a.wav")
    assert ids(read_manifest(write(folder, line("a", sha256=digest.upper())))) == ["a"]
    (problem,) = problems_of(write(folder, line("a", sha256="0" * 64)))
    assert "is another file than the manifest was made of" in problem
    (problem,) = problems_of(write(folder, line("a", sha256="x")))
    assert "SHA-256 of the audio file" in problem


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Cluster", "cluster"),
        ("clusters", "cluster"),
        ("transcripts", "transcript"),
        ("translation-it", "translation_it"),
        ("translations_it", "translation_it"),
        ("translationIT", "translation_it"),
        ("trasnlation_de", "translation_de"),
        ("langauge", "language"),
    ],
)
def test_a_field_that_is_nearly_a_known_one_is_told(folder: Path, written: str, meant: str) -> None:
    path = write(folder, line("a"), line("b", **{written: "x"}), line("c", **{written: "x"}))
    assert probable_misspellings(path) == [
        f"line 2: field '{written}' is ignored, did you mean '{meant}'? (and on 1 more lines)"
    ]


@pytest.mark.parametrize(
    "name", ["speaker", "duration", "source", "gender", "ids", "translation_it", "offset", "n"]
)
def test_other_fields_are_nobodys_business(folder: Path, name: str) -> None:
    assert probable_misspellings(write(folder, line("a", **{name: "x"}))) == []


CASES = {
    "NeMo": (
        '{"audio_filepath": "a.wav", "text": "hello", "duration": 3.9}',
        "line 1: keys of another tool: rename 'audio_filepath' to 'audio', 'text' to 'transcript'; "
        "add 'id' and 'language'",
    ),
    "audiofolder": (
        '{"file_name": "a.wav", "transcription": "hello", "id": "a", "lang": "en"}',
        "line 1: keys of another tool: rename 'file_name' to 'audio', 'lang' to 'language', "
        "'transcription' to 'transcript'",
    ),
    "datasets": (
        json.dumps(line(audio={"path": "a.wav", "bytes": None})),
        'line 1: audio: expected a text, found a mapping; write the path alone, "a.wav" '
        "(audio in bytes must be saved as a file)",
    ),
    "number as id": (
        json.dumps(line(7)),
        'line 1: id: expected a text, found the number 7; write "7"',
    ),
    "no transcript": (
        json.dumps(line(transcript=None)),
        'line 1: transcript: expected a text, found null; write "" where nobody knows it',
    ),
    "JSON array": (
        json.dumps([line("a"), line("b")], indent=1),
        f"it is one JSON array; {foreign.ONE_OBJECT} (jq -c '.[]' writes them so)",
    ),
    "tabs": (
        "id\taudio\tlanguage\ttranscript\na\ta.wav\ten\thello",
        f"it is a table of 4 columns between tabs; {foreign.ONE_OBJECT}",
    ),
    "two columns": (
        "file_name,transcription\na.wav,hello",
        f"it is a table of 2 columns between commas; {foreign.ONE_OBJECT}",
    ),
    "over several lines": (
        json.dumps({"data": [line("a")]}, indent=1),
        f"its JSON goes over several lines; {foreign.ONE_OBJECT} (jq -c . writes them so)",
    ),
    "pointer": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3",
        "it is a pointer of Git LFS and not the file itself; run `git lfs pull` in its folder",
    ),
    "cut off": (
        json.dumps(line("a"))[:-5],
        "line 1: not JSON: Unterminated string starting at (column 63)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_manifest_of_another_tool_is_one_sentence_that_says_what_to_do(
    folder: Path, name: str
) -> None:
    written, expected = CASES[name]
    assert problems_of(write(folder, written)) == [expected]


def test_utf_16_is_told_as_such(folder: Path) -> None:
    path = folder / "m.jsonl"
    path.write_bytes(json.dumps(line()).encode("utf-16"))
    assert problems_of(path) == ["it is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"]


def test_what_a_thousand_lines_have_in_common_is_told_once_and_counted(folder: Path) -> None:
    written = json.dumps({"audio_filepath": "a.wav", "text": "hello"})
    (problem,) = problems_of(write(folder, *[written] * 1000))
    assert problem.startswith("line 1: keys of another tool")
    assert problem.endswith("(and on 999 more lines)")


@pytest.mark.parametrize(
    ("written", "meant"), [("A.WAV", "there is 'a.wav'"), ("x\\a.wav", "not backslashes")]
)
def test_a_path_of_another_system_is_told(folder: Path, written: str, meant: str) -> None:
    (problem,) = problems_of(write(folder, line("a", audio=written)))
    assert meant in problem


@pytest.mark.parametrize(
    ("code", "told"),
    [("en", ""), ("cmn", ""), ("en-US", "did you mean 'en'?"), ("English", "is no code")],
)
def test_a_language_that_is_no_code_is_told(folder: Path, code: str, told: str) -> None:
    found = probable_misspellings(write(folder, line("a", language=code), line("b", language=code)))
    assert len(found) == bool(told)
    assert all(told in text and "(and on 1 more lines)" in text for text in found)


def words(*ends: float) -> list[dict[str, Any]]:
    return [{"word": "a", "start": 0.9 * end, "end": end} for end in ends]


def test_words_after_the_end_of_their_clip_are_told_of_every_line(folder: Path) -> None:
    # the clips last 0.1 s
    path = write(
        folder,
        line("a", words=words(0.05, 0.3)),  # within what aligners round
        line("b", words=words(0.05, 9.0)),
        line("c", words=words(50.0, 90.0)),
    )
    assert problems_of(path) == [
        "line 2: words of 'b': they end at 9 s, the clip after 0.10 s",
        "line 3: words of 'c': they end at 90 s, the clip after 0.10 s; times are in seconds, these look like "
        "milliseconds",
    ]


def test_words_after_the_end_of_a_clip_that_states_no_length_are_told(folder: Path) -> None:
    """A streaming encoder writes no number of samples into the header, so the clip has to be decoded."""
    streamed = folder / "streamed.flac"
    soundfile.write(streamed, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    data = bytearray(streamed.read_bytes())
    data[21:26] = bytes([data[21] & 0xF0, 0, 0, 0, 0])  # the 36 bits of the number of samples
    streamed.write_bytes(data)
    assert audio_seconds(streamed) is None  # or this is no test of it
    path = write(folder, line("a", audio=streamed.name, words=words(0.5, 9.0)))
    assert problems_of(path) == ["line 1: words of 'a': they end at 9 s, the clip after 1.00 s"]
