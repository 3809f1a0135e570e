"""LibriSpeech (Panayotov et al. 2015, openslr.org/12): read English books, a file per clip.

ROOT/test-clean/61/70968/61-70968-0000.flac        SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER
ROOT/test-clean/61/70968/61-70968.trans.txt        id and transcript
ROOT/test-clean/61/70968/61-70968.alignment.txt    words and their ends, where somebody added them
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from xbench.data.corpora.clip import Clip, expected, lines, recording, wanted, wrong_layout
from xbench.data.manifest import Word
from xbench.errors import UsageError

NAME = "librispeech"


def read(root: str, split: str, languages: Sequence[str], targets: Sequence[str]) -> list[Clip]:
    """Return the clips of one part, for instance test-clean; clusters are speakers."""
    top = Path(root)
    wanted(NAME, ["en"], languages, top)
    if targets:
        raise UsageError(f"{NAME} has no translations; leave out --target")
    folder = expected(NAME, top / split, top / "LibriSpeech" / split)
    chapters = sorted(folder.glob("*/*/*.trans.txt"))
    if not chapters:
        raise wrong_layout(NAME, f"{folder} has no SPEAKER/CHAPTER/*.trans.txt")
    return [clip for chapter in chapters for clip in _chapter(chapter)]


def _chapter(transcripts: Path) -> Iterator[Clip]:
    folder = transcripts.parent
    aligned = transcripts.with_name(transcripts.name.replace(".trans.", ".alignment."))
    words = dict(_aligned(aligned)) if aligned.is_file() else {}
    for line in lines(transcripts):
        name, _, text = line.partition(" ")
        yield Clip(
            id=name,
            audio=recording(NAME, folder, name),
            language="en",
            transcript=text,
            cluster=folder.parent.name,
            words=words.get(name),
        )


def _aligned(path: Path) -> Iterator[tuple[str, tuple[Word, ...]]]:
    """Read `ID ",WORD,,WORD," "0.41,0.75,0.80,1.20,1.50"`: an end per word, empty words are silence."""
    for number, line in enumerate(lines(path), start=1):
        try:
            name, texts, ends = line.split(" ")
            words = texts.strip('"').split(",")
            times = [0.0, *map(float, ends.strip('"').split(","))]
            spoken = zip(words, times[:-1], times[1:], strict=True)
        except ValueError:
            raise UsageError(f'{path}:{number}: is not ID "WORDS" "ENDS"') from None
        yield name, tuple(Word(word, start, end) for word, start, end in spoken if word)
