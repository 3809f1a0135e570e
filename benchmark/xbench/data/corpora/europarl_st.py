"""Europarl-ST v1.1 (Iranzo-Sánchez et al. 2020, arXiv 1911.03167): speeches cut into segments.

    ROOT/en/audios/en.20080924.31.3-243.m4a      whole speeches
    ROOT/en/it/test/segments.lst                 speech, start and end in seconds
    ROOT/en/it/test/segments.en, segments.it     transcript and translation, line by line
    ROOT/en/it/test/speeches.lst, speakers.lst   the speaker of each speech

Every pair of languages has its own segments. Clips of two pairs become one where they agree in
speech, start and end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from xbench.data.corpora.clip import Clip, expected, merged, parallel, recording, span
from xbench.errors import UsageError

NAME = "europarl-st"
PAPER = ("en", "it")
"""The pair that Papi et al. 2025 test on, in both directions; read where no languages are asked for."""


def read(root: str, split: str, languages: Sequence[str], targets: Sequence[str]) -> list[Clip]:
    """Return the segments of all pairs of `languages` and `targets`, by default English and Italian."""
    top = expected(NAME, Path(root))
    top = top / "v1.1" if (top / "v1.1").is_dir() else top
    pairs = [(s, t) for s in languages or PAPER for t in targets or PAPER if s != t]
    if not pairs:
        raise UsageError(
            f"{NAME}: it has segments per pair of languages; name another --target than the language"
        )
    return merged(clip for source, target in pairs for clip in _pair(top, source, target, split))


def _pair(top: Path, source: str, target: str, split: str) -> Iterator[Clip]:
    folder = expected(NAME, top / source / target / split)
    names = ("segments.lst", f"segments.{source}", f"segments.{target}")
    segments, transcripts, translations = (expected(NAME, folder / name) for name in names)
    pairs = parallel(
        expected(NAME, folder / "speeches.lst"), expected(NAME, folder / "speakers.lst")
    )
    speakers: dict[str, str] = dict(pairs)  # type: ignore[arg-type]  # two files give pairs
    files: dict[str, Path] = {}
    rows = parallel(segments, transcripts, translations)
    for number, (segment, transcript, translation) in enumerate(rows, start=1):
        speech, start, end = _times(segments, number, segment)
        if speech not in files:
            files[speech] = recording(NAME, top / source / "audios", speech)
        yield Clip(
            id=f"{speech}_{span(start, end)}",
            audio=files[speech],
            language=source,
            transcript=transcript,
            cluster=speakers.get(speech, speech),
            translations={target: translation},
            offset=start,
            duration=end - start,
        )


def _times(path: Path, number: int, text: str) -> tuple[str, float, float]:
    try:
        speech, start, end = text.split()
        return speech, float(start), float(end)
    except ValueError:
        raise UsageError(f"{path}:{number}: '{text}' is not SPEECH START END") from None
