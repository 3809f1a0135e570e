"""Choose the clips of the results on real speech: as many speakers as there are, in as many languages.

    python scripts/real_clips.py SHARED TRACK --out MANIFEST.jsonl

SHARED is a folder with `audio/` and `real/`, each with a `manifest.jsonl`. A track is `asr-en`, `asr-multi`, `st-to-
en`, or `asr-en-input`, the English clips whose spectrograms are hidden too. Of each speaker (cluster) the shortest
clip is taken, whatever a model makes of it; for `asr-en` also every clip with word times, which `onset-error` needs.
With --most N, speakers are taken in turn from every corpus and language, those with the shortest clips first, until
there are N clips. Recordings of single words that were joined (digits, Mandarin words, yes and no) are left out:
nobody speaks so. Paths in the manifest are absolute, so it is for this machine only; the one beside the results names
each clip's source instead.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
from collections.abc import Iterable
from pathlib import Path

LANGUAGES = {
    "asr-en": {"en"},
    "asr-en-input": {"en"},
    "asr-multi": {"ca", "de", "es", "fr", "it", "ja", "ko", "nl", "pt", "ru", "zh"},
    "st-to-en": {"ca", "de", "es", "fr", "it", "ja", "ko", "pt", "ru", "zh"},
    "words-en": {"en"},
    "words-multi": {"de", "es", "fr", "he", "it", "ja", "ko", "pt", "zh"},
    "listening": {"ca", "de", "en", "es", "fr", "it", "ja", "ko", "nl", "pt", "ru", "zh"},
}
JOINED = ("en-digits-", "zh-words-", "he-yesno-")
SHORTEST, LONGEST = 2.0, 15.0  # seconds
WINDOW = 30.0  # seconds that Whisper hears
# The first set names no speakers. These are the speakers of its clips, by the start of their ids, where several clips
# or both sets have them; any other clip is a speaker of its own.
SPEAKERS = {
    "en-librivox-austen": "librivox-austen",
    "en-librispeech-61-": "librispeech-61",
    "en-librispeech-1995-": "librispeech-1995",
    "en-librispeech-237-": "librispeech-237",
    "zh-aishell3-SSB0005": "aishell3-SSB0005",
    "zh-words-": "shtooka-yue-tan",
    "he-yesno-": "openslr-1",
}
# What a manifest that is published keeps of a clip: enough to get it and to know that it is the same.
PUBLISHED = ("id", "language", "cluster", "duration_s", "source", "licence", "sha256")
TIMED = (*PUBLISHED, "alignment_source")


def chosen(clips: Iterable[dict], track: str, most: int | None = None) -> list[dict]:
    """Return the clips of a track, sorted by id: the shortest of each speaker, and those with word times."""
    if track.startswith("words-"):
        own = (c for c in clips if c["language"] in LANGUAGES[track] and c.get("words"))
        timed = sorted((c for c in own if c["duration_s"] <= WINDOW), key=lambda clip: clip["id"])
        return timed[:most]
    usable = [
        clip
        for clip in clips
        if clip["language"] in LANGUAGES[track]
        and not clip["id"].startswith(JOINED)
        and SHORTEST <= clip["duration_s"] <= LONGEST
        and (track != "st-to-en" or clip.get("translation_en"))
    ]
    shortest: dict[str, dict] = {}
    for clip in sorted(usable, key=lambda clip: (clip["duration_s"], clip["id"])):
        shortest.setdefault(clip["cluster"], clip)
    timed = [clip for clip in usable if track == "asr-en" and clip.get("words")]
    own, others = (
        in_turn(clip for clip in shortest.values() if (clip["language"] == "en") is english)
        for english in (True, False)
    )
    turns = itertools.chain.from_iterable(zip(own, others, strict=False))
    spoken = turns if track == "listening" else in_turn(shortest.values())
    kept = {clip["id"]: clip for clip in [*timed, *spoken]}
    return sorted(itertools.islice(kept.values(), most), key=lambda clip: clip["id"])


def in_turn(clips: Iterable[dict]) -> list[dict]:
    """Return clips, given from short to long, in turn from each corpus and language."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for clip in clips:
        groups.setdefault((clip["language"], clip.get("corpus") or clip["source"]), []).append(clip)
    rounds = itertools.zip_longest(*groups.values())
    return [clip for turn in rounds for clip in turn if clip is not None]


def clips_of(shared: Path) -> list[dict]:
    """Read both sets, with absolute paths and a speaker for every clip."""
    clips = []
    for part in ("audio", "real"):
        folder = shared / part
        for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines():
            clip = json.loads(line)
            own = next((s for start, s in SPEAKERS.items() if clip["id"].startswith(start)), None)
            clip["cluster"] = clip.get("cluster") or own or clip["id"]
            audio = (folder / clip["audio"]).resolve()
            clip["audio"] = str(audio)
            clip["sha256"] = clip.get("sha256") or hashlib.sha256(audio.read_bytes()).hexdigest()
            clips.append(clip)
    return clips


def write_manifest(clips: Iterable[dict], path: Path) -> None:
    """Write clips as JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(c, ensure_ascii=False) + "\n" for c in clips), "utf-8")


def main() -> None:
    """Read the command line and write one manifest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("track", choices=sorted(LANGUAGES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=int, help="at most so many clips")
    arguments = parser.parse_args()
    clips = chosen(clips_of(arguments.shared), arguments.track, arguments.most)
    write_manifest(clips, arguments.out)


if __name__ == "__main__":
    main()
