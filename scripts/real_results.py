"""Make the results on real Whisper and real speech: one model on one track; runs again where it stopped.

    python scripts/real_results.py MODEL_FOLDER TRACK --shared ../shared [--cache DIR] [--out submissions] [--kinds ...]

MODEL_FOLDER is a checkpoint (`../shared/tools/real-whisper base|tiny.en OUT` makes them); its name becomes that of the
model. TRACK is one of `real_clips.py`, which chooses the clips. `asr-en-input` hides the spectrogram as well as the
encoder's output: a mask then costs a pass of the encoder. Where padding may stay frozen that is a short one; on the
first clip of tiny.en it may not (a correlation of 0.94 with exact passes), and each mask takes half a second on one
core without products in bfloat16. Result files go to `submissions/`; references, which take nearly all of the time, to
`packs/` as one file, and the list of clips with their sources beside it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from make_submissions import CHEAPER, KINDS
from real_clips import PUBLISHED, TIMED, chosen, clips_of, write_manifest
from xbench import registry
from xbench.packs import make_pack, named
from xbench.runner.evaluate import evaluate
from xbench.spec import Call, ExecutionOptions, RunSpec
from xbench.store import Store, default_folder

ROOT = Path(__file__).parents[1]
TASKS = {
    "asr-en": "asr",
    "asr-en-input": "asr",
    "asr-multi": "asr",
    "st-to-en": "st",
    "words-en": "word-times",
    "words-multi": "word-times",
}
METRICS = (
    *("pearson", "pearson-paper", "spearman", "auroc", "js-divergence", "emd", "frontier-error"),
    "sensitivity-n",
)
ENCODER = "spes-encoder:until=0.9,masks=20000,estimator=window-control-variate"
# Padding is not computed again for every mask where a check allows it: 21 times faster on a clip of 5 s
# (docs/references.md).
INPUT = "spes-input:until=0.9,masks=20000,estimator=control-variate,padding=frozen"
# Word times need no reference; it is there to ask whether agreement foresees them, and one clip is of 27 s.
QUICK = "spes-encoder:until=0.8,masks=2000,estimator=window-control-variate"
REFERENCES = {
    "asr-en-input": (ENCODER, INPUT),
    "words-en": (QUICK,),
    "words-multi": (QUICK,),
}
# What results on clips with word times are judged by.
TIMING = ("pearson", "pearson-paper", "frontier-error", "onset-error")
# They learn from a dev split, which clips given with --data do not have.
LEARNED = {"best-head", "corpus-mean", "greedy-heads", "top-k-heads"}


def calls(kinds: Sequence[str], left_out: Sequence[str] = ()) -> tuple[Call, ...]:
    """Return every registered method of these kinds that needs no dev split, and every single head.

    Also Whisper's rule for word times to the letter, which is not what `dtw-path` does without being told.
    """
    found = [Call.parse("raw-attention:layer=*,head=*"), Call.parse("mean-layers:head=*")]
    found.append(Call.parse("dtw-path:rows=all"))
    for description in registry.methods.descriptions():
        needed = any(parameter.required for parameter in description.parameters)
        if (
            description.kind in kinds
            and not needed
            and description.name not in {*LEARNED, *left_out}
        ):
            cheaper = CHEAPER.get(description.name)
            given = f"{description.name}:{cheaper}" if cheaper else description.name
            found.append(Call.parse(given))
    return tuple(found)


def make(
    model: Path,
    track: str,
    shared: Path,
    methods: tuple[Call, ...],
    most: int | None,
    options: ExecutionOptions,
) -> None:
    """Evaluate methods on a track's clips, and pack the references."""
    clips = chosen(clips_of(shared), track, most)
    timing = TASKS[track] == "word-times"
    write_manifest(
        ({key: clip.get(key) for key in (TIMED if timing else PUBLISHED)} for clip in clips),
        ROOT / "packs" / "clips" / f"{track}.jsonl",
    )
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / f"real-speech-{track}.jsonl"
        write_manifest(clips, manifest)
        metrics = (*METRICS, "onset-error") if track == "asr-en" else METRICS
        spec = RunSpec(
            model=f"whisper:{model}",
            methods=methods,
            tasks=(TASKS[track],),
            data=str(manifest),
            references=tuple(map(Call.parse, REFERENCES.get(track, (ENCODER,)))),
            metrics=tuple(Call(name) for name in (TIMING if timing else metrics)),
        )
        results = [r for r in evaluate(spec, options) if r.status in ("complete", "partial")]
    store = Store(Path(options.cache) if options.cache else default_folder())
    pack = ROOT / "packs" / f"whisper-{model.name}.{track}.xpack"
    facts = make_pack(results, store, pack)
    for result in results:
        named(result, pack, facts["sha256"]).write(Path(options.output))
    kept = "kept, which moves" if facts["compact"] else "not kept, which would move"
    size = f"{pack.name}: {facts['bytes'] / 1e6:.2f} MB"
    print(f"{size}; half precision is {kept} a score by {facts['moved']:.1e} at most")


def main() -> None:
    """Read the command line and make one part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("track", choices=sorted(TASKS))
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--out", default=str(ROOT / "submissions"))
    parser.add_argument("--cache")
    parser.add_argument("--kinds", nargs="+", default=KINDS[:3], choices=KINDS, help="only these")
    parser.add_argument("--most", type=int, help="at most so many clips")
    parser.add_argument("--leave-out", nargs="+", default=(), help="methods that are not run")
    given = parser.parse_args()
    methods = calls(given.kinds, given.leave_out)
    options = ExecutionOptions(output=given.out, cache=given.cache)
    make(given.model, given.track, given.shared, methods, given.most, options)


if __name__ == "__main__":
    main()
