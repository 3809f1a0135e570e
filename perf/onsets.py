"""Where maps say that words start, and where Whisper itself says it, beside the times in a manifest.

    python perf/onsets.py CHECKPOINT     a folder with Whisper weights; adds its part to perf/onsets.md and .json

Of five natural English clips with word times in the shared audio: `onset-error` of three maps for each `point`, and
the error of Whisper's own word starts, read off its path as openai/whisper's `find_alignment` does (a word starts in
the frame where the path comes to its first token).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.data.manifest import Word
from xbench.maps import GridMap
from xbench.methods.attention import mean_heads
from xbench.methods.timing import dtw_path, whisper_timing
from xbench.methods.word_window import words_of_tokens
from xbench.metrics.timing import onset_error
from xbench.models.loading import load_model
from xbench.spec import Decoding, Scoring

sys.path.insert(0, str(Path(__file__).parent))
from subjects import SHARED

HERE = Path(__file__).parent
FILE = HERE / "onsets.json"
CLIPS = 5
POINTS = ("start", "peak", "centroid")


def measure(checkpoint: Path) -> list[dict[str, float | str]]:
    """Return one entry per clip: errors and signed offsets in seconds."""
    model = load_model(f"whisper:{checkpoint}", device="cpu")
    manifest = (SHARED / "audio" / "manifest.jsonl").read_text("utf-8").splitlines()
    clips = [c for c in map(json.loads, manifest) if c.get("words") and c["language"] == "en"]
    natural = [c for c in clips if not c["id"].startswith("en-digits")][:CLIPS]
    entries = []
    for clip in natural:
        audio = read_audio(SHARED / "audio" / clip["audio"], model.info.sampling_rate)
        features = model.features(audio)
        hypothesis = model.decode(features, "en", None, Decoding())
        case = Case(model, features, hypothesis, clip["id"])
        trace = model.trace(features, hypothesis, {"cross-projections"})
        case = replace(case, trace=trace)
        words = tuple(Word(w["word"], w["start"], w["end"]) for w in clip["words"])
        axes = case.layout
        aligned = words_of_tokens(axes, hypothesis.text, words)
        spans = tuple(
            (min(words[i].start for i in own), max(words[i].end for i in own)) if own else None
            for own in aligned
        )
        path = dtw_path(case, filter_width=7).double().numpy()
        maps = {
            "dtw-path": path,
            "whisper-timing": np.abs(whisper_timing(case, filter_width=7).double().numpy()),
            "mean-heads": mean_heads(trace, layers="all").double().numpy(),
        }
        entry: dict[str, float | str] = {"clip": clip["id"]}
        for name, values in maps.items():
            for point in POINTS:
                grid = GridMap(values)
                found = onset_error(grid, grid, axes, Scoring(), point=point, spans=spans)
                entry[f"{name}, {point}"] = found.value or float("nan")
                entry[f"{name}, {point}, offset"] = found.columns["offset"]
        tokens, frames = np.nonzero(path)
        starts = frames[np.diff(tokens, prepend=-1) > 0] * axes.stride * axes.melframe_seconds
        seen: set[float] = set()
        errors = []
        for row in axes.content:
            span = spans[row]
            if span is not None and span[0] not in seen:
                seen.add(span[0])
                errors.append(abs(starts[row] - span[0]))
        entry["Whisper's own"] = float(np.mean(errors))
        entries.append(entry)
    return entries


def render(measured: dict[str, list[dict[str, float | str]]]) -> str:
    """Return the report as Markdown."""
    lines = [
        "# Where maps say that words start",
        "",
        "`onset-error` in seconds (signed offset), and the error of Whisper's own word starts, read off its path.",
        "Word times are those of the shared clips, machine-made. `published_whisper.md` says how far `dtw-path` lies",
        "from OpenAI's own code.",
    ]
    for checkpoint, entries in measured.items():
        names = [name for name in entries[0] if name != "clip" and not name.endswith("offset")]
        lines += [
            "",
            f"## {checkpoint}",
            "",
            f"Made by `python perf/onsets.py {checkpoint}`.",
            "",
            "| map, point | " + " | ".join(str(e["clip"]) for e in entries) + " | mean |",
            "|---|" + "---|" * (len(entries) + 1),
        ]
        for name in names:
            values = [float(e[name]) for e in entries]
            offsets = [e.get(f"{name}, offset") for e in entries]
            cells = [
                f"{v:.3f}" + (f" ({float(o):+.3f})" if o is not None else "")
                for v, o in zip(values, offsets, strict=True)
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {np.mean(values):.3f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    checkpoint = parser.parse_args().checkpoint
    measured = json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {}
    measured[checkpoint.name] = measure(checkpoint)
    text = render(measured)
    print(text)
    (HERE / "onsets.md").write_text(text, "utf-8")
    FILE.write_text(json.dumps(measured, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
