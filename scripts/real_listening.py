"""Write `leaderboard/listening.json`: does real Whisper listen? docs/findings.md tells it.

    python scripts/real_listening.py MODEL_FOLDER --shared ../shared [--cache DIR] [--most 8]

Of clips of speakers (`real_clips.py`, track `listening`: half of them English, half in other languages) `xbench data
listening` makes clips with known content. On these the task `listening` is run, and `xbench decisions listening` says
which detectors find the tokens that need no audio. Its output is kept, with the masks of the reference and the clips'
sources beside it in `packs/clips/`. A mean over a row needs few masks: the file says how reliable it is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from real_clips import PUBLISHED, chosen, clips_of, write_manifest
from word_times_page import kept
from xbench.data.listening import make_listening
from xbench.decisions.listening import listening
from xbench.runner.evaluate import evaluate
from xbench.spec import Call, ExecutionOptions, RunSpec
from xbench.store import Store, default_folder

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "leaderboard" / "listening.json"
TRACK = "listening"
REFERENCE = "spes-encoder:masks=200,estimator=window-control-variate"
# Whose entropy is read; single heads for the consistency of their rows.
METHODS = (
    *("mean-heads", "sinks-dropped", "value-norm-resln", "alignment-heads"),
    "raw-attention:layer=*,head=*",
)


def main() -> None:
    """Read the command line, make the clips, run the task and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--cache")
    parser.add_argument("--most", type=int, default=8, help="speakers, half of them English")
    given = parser.parse_args()
    sources = chosen(clips_of(given.shared), TRACK, given.most)
    write_manifest(
        ({key: clip.get(key) for key in PUBLISHED} for clip in sources),
        ROOT / "packs" / "clips" / f"{TRACK}.jsonl",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_manifest(sources, folder / "sources.jsonl")
        made = make_listening(folder / "sources.jsonl", folder / f"real-speech-{TRACK}.jsonl", "en")
        spec = RunSpec(
            model=f"whisper:{given.model}",
            methods=tuple(map(Call.parse, METHODS)),
            tasks=("listening",),
            data=str(made.manifest),
            references=(Call.parse(REFERENCE),),
            metrics=(Call("pearson"),),
        )
        results = evaluate(
            spec, ExecutionOptions(output=str(folder / "results"), cache=given.cache)
        )
        store = Store(Path(given.cache) if given.cache else default_folder())
        found = listening(
            [result for result in results if result.status in ("complete", "partial")], store=store
        )
    told = {"masks": int(Call.parse(REFERENCE).given["masks"]), "made": made.clips, **asdict(found)}
    rows = ",\n".join(json.dumps(kept(row), ensure_ascii=False) for row in told.pop("rows"))
    head = json.dumps(told, ensure_ascii=False).removesuffix("}")
    FILE.write_text(f'{head}, "rows": [\n{rows}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
