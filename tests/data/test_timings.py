"""Word times from TextGrid and CTM files, put into manifests."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from command_line import Run
from xbench.data.manifest import Word, read_manifest
from xbench.data.timings import import_times, read_textgrid
from xbench.errors import EnvironmentProblem, UsageError
from xbench.schemas import InvalidFile

GRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.4
            text = "good"
        intervals [2]:
            xmin = 0.4
            xmax = 0.5
            text = ""
        intervals [3]:
            xmin = 0.5
            xmax = 1
            text = "day"
    item [2]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 1
            text = "g"
"""
GOOD_DAY = (Word("good", 0.0, 0.4), Word("day", 0.5, 1.0))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two clips of a second, in a folder beside their manifest."""
    (tmp_path / "audio").mkdir()
    for name in ("one", "two"):
        soundfile.write(tmp_path / "audio" / f"{name}.wav", np.ones(16_000) * 0.1, 16_000)
    path = tmp_path / "clips.jsonl"
    lines = [
        {
            "id": f"clip-{name}",
            "audio": f"audio/{name}.wav",
            "language": "en",
            "transcript": "good day",
            "note": name,
        }
        for name in ("one", "two")
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def ctm(folder: Path, *lines: str) -> Path:
    path = folder / "times.ctm"
    path.write_text("\n".join(lines))
    return path


def test_a_ctm_names_clips_by_id_or_audio_file_and_may_be_unsorted(manifest: Path) -> None:
    times = ctm(
        manifest.parent,
        ";; made by hand",
        "clip-one 1 0.5 0.5 day 0.93",
        "clip-one 1 0.0 0.4 good",
        "two A 0.1 0.2 good ;; here the name of the audio",
    )
    done = import_times(manifest, times, manifest.parent / "timed.jsonl")
    assert (done.clips, done.words, done.without) == (2, 3, ())
    one, two = read_manifest(done.manifest).utterances
    assert one.words == GOOD_DAY
    assert two.words == (Word("good", 0.1, 0.3),)
    assert json.loads(done.manifest.read_text().splitlines()[0])["note"] == "one"


def test_paths_hold_where_the_new_manifest_lies(manifest: Path, tmp_path: Path) -> None:
    times = ctm(tmp_path, "clip-one 1 0 1 good")
    (tmp_path / "elsewhere").mkdir()
    done = import_times(manifest, times, tmp_path / "elsewhere" / "timed.jsonl")
    assert done.without == ("clip-two",)
    assert all(u.audio.is_file() for u in read_manifest(done.manifest).utterances)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("clip-one 1 0 good", "line 1: 4 columns"),
        ("clip-one 1 zero 1 good", "start 'zero' and duration '1' must be seconds from 0"),
        ("clip-one 1 0 -1 good", "must be seconds from 0"),
        ("clip-one 1 nan 1 good", "must be seconds from 0"),
        ("clip-one 1 600 400 good", "look like milliseconds"),
        ("clip-one 1 0 1.5 good", "they end at 1.5 s, the clip after 1.00 s"),
        ("clip-one 1 0 0.8 good\nclip-one 1 0.2 0.5 day", "before the word before it ends at 0.8"),
    ],
)
def test_a_ctm_that_cannot_be_is_refused_and_nothing_is_written(
    manifest: Path, line: str, told: str
) -> None:
    times, out = ctm(manifest.parent, line), manifest.parent / "timed.jsonl"
    with pytest.raises(InvalidFile, match=told) as caught:
        import_times(manifest, times, out)
    assert str(caught.value).startswith(f"{times}: 1 problem")
    assert not list(manifest.parent.glob("timed*"))


def test_times_of_other_clips_are_refused(manifest: Path) -> None:
    times = ctm(manifest.parent, "clip-three 1 0 1 good")
    with pytest.raises(UsageError, match=r"times for none of the 2 clips .*\('clip-one'\)"):
        import_times(manifest, times, manifest.parent / "timed.jsonl")


def test_a_textgrid_gives_its_words_and_pauses_none(tmp_path: Path) -> None:
    pytest.importorskip("praatio")
    path = tmp_path / "a.TextGrid"
    path.write_text(GRID)
    assert read_textgrid(path) == GOOD_DAY
    assert read_textgrid(path, "phones") == (Word("g", 0.0, 1.0),)
    path.write_text(GRID.replace('"words"', '"Word"'))
    assert read_textgrid(path) == GOOD_DAY


def test_a_textgrid_without_the_tier_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("praatio")
    path = tmp_path / "a.TextGrid"
    path.write_text(GRID)
    with pytest.raises(UsageError, match=r"no tier of intervals 'wrds', did you mean 'words'"):
        read_textgrid(path, "wrds")
    path.write_text(GRID.replace('"words"', '"speaker"'))
    with pytest.raises(UsageError, match="--tier: it has 'speaker', 'phones'"):
        read_textgrid(path)
    path.write_text("no grid")
    with pytest.raises(UsageError, match="cannot be read as a TextGrid"):
        read_textgrid(path)


def test_without_praatio_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "praatio", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'xbench\[textgrid\]'"):
        read_textgrid(tmp_path / "a.TextGrid")


def test_the_command_reads_a_folder_of_textgrids(run: Run, manifest: Path) -> None:
    pytest.importorskip("praatio")
    folder, out = manifest.parent / "grids", manifest.parent / "timed.jsonl"
    folder.mkdir()
    assert (
        "holds no .TextGrid"
        in run("data", "words", str(manifest), str(folder), "--out", str(out)).err
    )
    (folder / "clip-one.TextGrid").write_text(GRID)
    found = run("data", "words", str(manifest), str(folder), "--out", str(out))
    assert found.code == 0, found.err
    assert "2 words in 1 clips" in found.out
    assert "1 clips have no times" in found.out
    assert read_manifest(out).utterances[0].words == GOOD_DAY


def test_the_command_refuses_other_names_and_tiers_of_a_ctm(run: Run, manifest: Path) -> None:
    times = str(ctm(manifest.parent, "clip-one 1 0 1 good"))
    refused = run("data", "words", str(manifest), times, "--out", "timed.txt")
    assert (refused.code, "ends in .jsonl" in refused.err) == (2, True)
    refused = run("data", "words", str(manifest), times, "--out", "t.jsonl", "--tier", "words")
    assert (refused.code, "read as CTM" in refused.err) == (2, True)
