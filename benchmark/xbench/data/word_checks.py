"""Whether word times can be true: each word in its place, and the last one within its clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from xbench.data.audio import audio_seconds, decoded_seconds
from xbench.errors import UtteranceError

# By which the last word may end after its clip: aligners round, and clips are trimmed.
_LATE_SECONDS = 0.25
# By which words may overlap: aligners round, and fluent speech runs together.
_OVERLAP_SECONDS = 0.1


def odd_words(words: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say which words are blank, end before they begin, begin before the one before, or overlap it beyond rounding."""
    found = []
    for index, word in enumerate(words):
        start, end = word["start"], word["end"]
        before = words[index - 1] if index else None
        if not word["word"].strip():
            found.append(f"words[{index}]: it is blank; leave out what is no word, such as silence")
        elif end < start:
            found.append(f"words[{index}]: end {end} is before start {start}")
        elif before is not None and start < before["start"]:
            found.append(
                f"words[{index}]: it starts at {start}, the word before it at {before['start']}; sort words by time"
            )
        elif before is not None and start < before["end"] - _OVERLAP_SECONDS:
            found.append(
                f"words[{index}]: it starts at {start}, before the word before it ends at {before['end']}; give each "
                "word its own time"
            )
    return found


def late_words(words: Sequence[Mapping[str, Any]], audio: Path) -> str | None:
    """Say how far words reach beyond their clip; None where they do not, or nobody knows how long it is."""
    ends = [float(word["end"]) for word in words]
    seconds = None
    with suppress(UtteranceError):  # what cannot be decoded is refused by the run
        if ends:
            stated = audio_seconds(audio)
            seconds = decoded_seconds(audio) if stated is None else stated  # a streamed file
    if seconds is None or max(ends) <= seconds + _LATE_SECONDS:
        return None
    shrunk = min(ends) >= 10 and max(ends) / 1000 <= seconds + _LATE_SECONDS
    guess = "; times are in seconds, these look like milliseconds" if shrunk else ""
    return f"they end at {max(ends):g} s, the clip after {seconds:.2f} s{guess}"
