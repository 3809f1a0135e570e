"""MuST-C v1 (Di Gangi et al. 2019): English TED talks cut into segments, translated.

ROOT/en-de/data/tst-COMMON/wav/ted_1096.wav           whole talks
ROOT/en-de/data/tst-COMMON/txt/tst-COMMON.yaml        a list of {duration, offset, speaker_id, wav}
ROOT/en-de/data/tst-COMMON/txt/tst-COMMON.en, .de     transcript and translation, line by line
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from xbench.data.corpora.clip import Clip, expected, lines, merged, recording, span, wanted
from xbench.errors import UsageError

NAME = "must-c"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(root: str, split: str, languages: Sequence[str], targets: Sequence[str]) -> list[Clip]:
    """Return the segments of all target languages that ROOT holds, or of `targets`; clusters are talks."""
    top = Path(root)
    wanted(NAME, ["en"], languages, top)
    there = sorted(f.name.removeprefix("en-") for f in top.glob("en-*") if (f / "data").is_dir())
    if not there:
        expected(NAME, top / "en-de" / "data")
    pairs = wanted(NAME, there, targets, top)
    return merged(clip for target in pairs for clip in _pair(top, target, split))


def _pair(top: Path, target: str, split: str) -> Iterator[Clip]:
    folder = expected(NAME, top / f"en-{target}" / "data" / split)
    listed = expected(NAME, folder / "txt" / f"{split}.yaml")
    texts = [expected(NAME, folder / "txt" / f"{split}.{code}") for code in ("en", target)]
    try:
        segments = yaml.load(listed.read_text("utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as problem:
        raise UsageError(f"{listed}: is not readable YAML: {problem}".splitlines()[0]) from None
    columns = [lines(path) for path in texts]
    if not isinstance(segments, list) or {len(c) for c in columns} != {len(segments)}:
        raise UsageError(
            f"{listed} must list as many segments as {texts[0].name} ({len(columns[0])}) and "
            f"{texts[1].name} ({len(columns[1])}) have lines"
        )
    for number, (segment, transcript, translation) in enumerate(
        zip(segments, *columns, strict=True), start=1
    ):
        try:
            talk = Path(segment["wav"]).stem
            start, duration = float(segment["offset"]), float(segment["duration"])
        except (KeyError, TypeError, ValueError):
            raise UsageError(f"{listed}: segment {number} lacks wav, offset or duration") from None
        yield Clip(
            id=f"{talk}_{span(start, start + duration)}",
            audio=recording(NAME, folder / "wav", talk),
            language="en",
            transcript=transcript,
            cluster=talk,
            translations={target: translation},
            offset=start,
            duration=duration,
        )
