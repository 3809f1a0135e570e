"""Multilingual LibriSpeech (Pratap et al. 2020, openslr.org/94): read books in eight languages.

    ROOT/mls_german/test/transcripts.txt                            id, tab, transcript
    ROOT/mls_german/test/segments.txt                               id and place in LibriVox (not needed)
    ROOT/mls_german/test/audio/1054/1599/1054_1599_000000.flac      SPEAKER/BOOK/SPEAKER_BOOK_NUMBER

The distribution with compressed audio has folders called mls_german_opus and files ending in .opus.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from xbench.data.corpora.clip import Clip, expected, recording, table, wanted
from xbench.errors import UsageError

NAME = "mls"
LANGUAGES = {
    "en": "english",
    "de": "german",
    "nl": "dutch",
    "fr": "french",
    "es": "spanish",
    "it": "italian",
    "pt": "portuguese",
    "pl": "polish",
}


def read(root: str, split: str, languages: Sequence[str], targets: Sequence[str]) -> list[Clip]:
    """Return the clips of all languages that ROOT holds, or of `languages`; clusters are speakers."""
    if targets:
        raise UsageError(f"{NAME} has no translations; leave out --target")
    top = Path(root)
    folders: dict[str, Path] = {}
    for language, name in LANGUAGES.items():
        for place in (top / f"mls_{name}", top / f"mls_{name}_opus"):
            if place.is_dir():
                folders.setdefault(language, place)
            elif top.name == place.name and top.is_dir():
                folders.setdefault(language, top)
    if not folders:
        expected(NAME, top / "mls_german", top / "mls_german_opus")
    chosen = wanted(NAME, list(folders), languages, top)
    return [clip for language in chosen for clip in _language(language, folders[language] / split)]


def _language(language: str, folder: Path) -> Iterator[Clip]:
    transcripts = expected(NAME, folder / "transcripts.txt")
    for row in table(transcripts, ("id", "text"), header=False):
        speaker, _, rest = row["id"].partition("_")
        book = rest.partition("_")[0]
        yield Clip(
            id=f"{language}-{row['id']}",
            audio=recording(NAME, folder / "audio" / speaker / book, row["id"]),
            language=language,
            transcript=row["text"],
            cluster=speaker,
        )
