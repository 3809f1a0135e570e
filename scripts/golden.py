"""Golden scores: a small file of scores that must not move unless a version does.

    python scripts/golden.py            # compare with tests/golden/scores.json
    python scripts/golden.py --write    # write what is new, or new because a version was raised; refuses anything else

Two clips of the demo (one where spectrograms are decoded again) and 24 masks, in float32: the scores mean little and
cost seconds. Every demo task, metric and reference is in it, and every method with parameters that make it cheap. What
only maps of spectrograms have is scored on one of those, what only decoder-only models have on the embedded one of
that kind, which the row then names: each metric and reference has a row that is a number, since null cannot move. Tasks
on other corpora are not in it: their clips do not come with xbench. Masks follow from counters (Philox), so what
differs between machines is rounding alone. Between AVX-512 on two threads and SSE4 on one, no score moved by more than
0.000007; `TOLERANCE` is 14 times that.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xbench import registry
from xbench.description import Description
from xbench.results import RunResult
from xbench.runner.evaluate import evaluate
from xbench.spec import Call, ExecutionOptions, RunSpec, Selection
from xbench.testing.calls import completed

FILE = Path(__file__).parents[1] / "tests" / "golden" / "scores.json"
# How much a score may move: this share of it, or of 1 where it is smaller.
TOLERANCE = 0.0001

COMMON: dict[str, Any] = {
    "model": "xbench-tiny",
    "masks": 24,
    "selection": Selection(limit=2),
    "precision": "float32",
}
REFERENCES = (
    *("spes-encoder", "spes-encoder-drop", "spes-encoder-contrast", "spes-encoder-removed"),
    *("spes-input", "spes-input-contrast"),
)
DECODER_ONLY = "xbench-tiny-lm"  # for `spes-audio`, which hides audio positions
# These need word times, which no translation has.
OVER_WORDS = ("spes-encoder-words", "spes-input-words")
FEW = ("mean-heads", "saliency-encoder", "diagonal")
# Methods that perturb the spectrogram take minutes by their defaults.
CHEAP: Mapping[str, dict[str, Any]] = {
    "smoothgrad": {"samples": 2},
    "gradient-shap": {"samples": 2},
    "integrated-gradients": {"steps": 2},
    "occlusion": {"window": 60, "step": 60},
    "feature-ablation": {"segments": 6},
    "lime": {"samples": 30, "segments": 8},
    "kernel-shap": {"samples": 30, "segments": 8},
    "rise": {"samples": 20},
    "spes": {"masks": 12},
}


def _methods() -> tuple[Call, ...]:
    """Return every method of xbench with complete parameters."""
    calls = []
    for entry in registry.methods.entries():
        if entry.distribution == registry.OURS and entry.description:
            values = CHEAP.get(entry.name.removesuffix("-encoder"), {})
            known = {p.name for p in entry.description.parameters}
            given = {name: value for name, value in values.items() if name in known}
            calls.append(completed(entry.description, Call(entry.name), given))
    return tuple(calls)


def _specs() -> Iterator[RunSpec]:
    entries = [e for e in registry.metrics.entries() if e.distribution == registry.OURS]
    on_input = [e.name for e in entries if e.description and e.description.space == "input"]
    others = [e.name for e in entries if e.name not in on_input]
    yield RunSpec(
        methods=_methods(),
        tasks="demo-asr-en",
        references="spes-encoder",
        metrics=("pearson", "pearson-paper"),
        **COMMON,
    )
    every = (*REFERENCES, *OVER_WORDS)
    yield RunSpec(methods=FEW, tasks="demo-asr-en", references=every, metrics=others, **COMMON)
    yield RunSpec(
        methods="saliency",
        tasks="demo-asr-en",
        references="spes-input",
        metrics=on_input,
        **{**COMMON, "selection": Selection(limit=1)},
    )
    yield RunSpec(
        methods=FEW,
        tasks="demo-asr-en",
        references="spes-audio",
        metrics=("pearson", "pearson-paper"),
        **{**COMMON, "model": DECODER_ONLY},
    )
    yield RunSpec(
        methods=FEW,
        tasks=("demo-asr-multi", "demo-st-multi"),
        references=REFERENCES,
        metrics=("pearson", "pearson-paper"),
        **COMMON,
    )


def _versioned(kind: registry.Registry[Any], name: str) -> str:
    description: Description = kind.get(name)
    return f"{name} {description.version}"


def _rows(result: RunResult) -> Iterator[tuple[str, float | str | None]]:
    call = str(Call.make(result.method.name, result.method.params))
    method = f"{call} {registry.methods.get(result.method.name).version}"
    task = f"{result.task.name} {result.task.version}"
    if result.model.name != COMMON["model"]:
        task += f" | {result.model.name}"
    if not result.scores:
        yield f"{task} | {method}", result.status
    for score in result.scores:
        parts = [task, method, _versioned(registry.metrics, score.metric)]
        if score.reference:
            parts.append(_versioned(registry.references, score.reference))
        yield " | ".join(parts), score.value


def golden() -> dict[str, float | str | None]:
    """Return every score by what it is a score of, with the versions."""
    found: dict[str, float | str | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        options = ExecutionOptions(
            str(Path(folder) / "results"), str(Path(folder) / "cache"), "cpu"
        )
        for spec in _specs():
            for result in evaluate(spec, options):
                found |= dict(_rows(result))
    return {
        key: round(value, 6) if isinstance(value, float) else value
        for key, value in sorted(found.items())
    }


def moved(
    kept: Mapping[str, float | str | None], found: Mapping[str, float | str | None]
) -> list[str]:
    """Return a sentence for each score that is not what it was although no version of it changed."""
    return [
        f"{key}: {found[key]}, was {kept[key]}"
        for key in sorted(kept.keys() & found.keys())
        if not _close(kept[key], found[key])
    ]


def _close(first: float | str | None, second: float | str | None) -> bool:
    if not isinstance(first, float | int) or not isinstance(second, float | int):
        return first == second
    return abs(first - second) <= TOLERANCE * max(1.0, abs(first))


def missing(
    kept: Mapping[str, float | str | None], found: Mapping[str, float | str | None]
) -> list[str]:
    """Return what is in one of them only: something is new or gone, or has another version."""
    return sorted(kept.keys() ^ found.keys())


def read() -> dict[str, float | str | None]:
    """Return the scores that are kept."""
    kept: dict[str, float | str | None] = json.loads(FILE.read_text()) if FILE.is_file() else {}
    return kept


def main() -> int:
    """Compare or write; 1 where a score moved without a version."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write new scores to the file")
    write = parser.parse_args().write
    kept, found = read(), golden()
    if changed := moved(kept, found):
        print(*changed, sep="\n", file=sys.stderr)
        print("raise the version of what changed, and say so in CHANGELOG.md", file=sys.stderr)
        return 1
    if write:
        FILE.parent.mkdir(exist_ok=True)
        whole = {key: kept.get(key, value) for key, value in found.items()}
        FILE.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    elif other := missing(kept, found):
        print(*other, sep="\n", file=sys.stderr)
        print("these are new or gone; `make golden` writes them", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
