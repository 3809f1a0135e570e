"""`xbench report replication`: what a run found beside what was published, and what a run would take.

The published numbers and the sizes of the models are data (`replication.yaml`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbench.errors import UsageError
from xbench.inputs import markdown_cell
from xbench.results import RunResult, model_labels
from xbench.tasks.strict_yaml import read_yaml

_AGGREGATES = ("mean-heads", "mean-layers", "raw-attention")
_RHO = "pearson-paper"
_INPUT, _ENCODER = "spes-input", "spes-encoder"
_CONTENDER = "spes"  # `spes-input` as a method
_DELETION = "deletion-auc-free-input"
NOTHING = "–"


@dataclass(frozen=True)
class Measured:
    """A number of a run and the result it is from; what came of it when there is no number."""

    text: str
    results: tuple[RunResult, ...]


def facts() -> dict[str, Any]:
    """Return the published numbers, the models and the test set."""
    return read_yaml(Path(__file__).with_name("replication.yaml")).value


def replication(results: Sequence[RunResult]) -> str:
    """Return a Markdown table: a row per published number, a column per model of `results`.

    Raises:
        UsageError: none of the results is of a task of the suite `paper`.
    """
    rows = facts()["published"]
    tasks = {row["task"] for row in rows}
    used = [result for result in results if result.task.name in tasks]
    if results and not used:
        raise UsageError(
            f"none of the {len(results)} results is of the paper's tasks ({', '.join(sorted(tasks))}); "
            "`xbench eval --task paper` makes them"
        )
    labels = model_labels(result.model for result in used)
    models = sorted(labels, key=lambda identity: labels[identity])
    head = [
        "quantity",
        "published",
        "source",
        *([labels[model] for model in models] or ["this run"]),
    ]
    body = [
        [
            *(row[key] for key in ("quantity", "published", "source")),
            *([_cell(row, _of(used, row["task"], model)) for model in models] or [NOTHING]),
        ]
        for row in rows
    ]
    return table(head, body)


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    rows = [head, ["---"] * len(head), *body]
    return "".join("| " + " | ".join(map(markdown_cell, row)) + " |\n" for row in rows)


def _of(results: Iterable[RunResult], task: str, model: tuple[str, str]) -> list[RunResult]:
    return [r for r in results if (r.task.name, r.model.identity) == (task, model)]


def _cell(row: Mapping[str, Any], results: Sequence[RunResult]) -> str:
    measured = _MEASURES[row["measure"]](results)
    notes = dict.fromkeys(note for result in measured.results for note in _departures(result))
    return measured.text + (f" ({'; '.join(notes)})" if notes else "")


def _departures(result: RunResult) -> Iterable[str]:
    """Yield how a result departs from the paper's protocol."""
    if result.task.preset != "paper":
        yield f"preset {result.task.preset}"
    if result.status != "complete":
        yield f"{result.status}, {result.task.dataset.n} clips"
    drawn = [sum(call.masks) for call in result.references]
    if result.method.name == _CONTENDER:
        drawn.append(int(result.method.params["masks"]))
    if result.task.preset == "paper" and any(count < 19_998 for count in drawn):
        yield "fewer masks"


def _quality(results: Sequence[RunResult]) -> Measured:
    for result in results:
        if result.quality.value is not None:
            return Measured(f"{result.quality.value:.1f}", (result,))
    return Measured(NOTHING, ())


def _rho(result: RunResult, reference: str) -> float | None:
    values = [s.value for s in result.scores if (s.metric, s.reference) == (_RHO, reference)]
    return values[0] if values else None


def _all(results: Iterable[RunResult]) -> list[RunResult]:
    """Return the results of the mean over all heads and layers."""
    found = [r for r in results if r.method.name == "mean-heads"]
    return [r for r in found if set(r.method.params.values()) == {"all"}]


def _all_input(results: Sequence[RunResult]) -> Measured:
    return _best(_all(results), _INPUT)


def _best_input(results: Sequence[RunResult]) -> Measured:
    return _best([r for r in results if r.method.name in _AGGREGATES], _INPUT)


def _best_encoder(results: Sequence[RunResult]) -> Measured:
    return _best([r for r in results if r.method.name in _AGGREGATES], _ENCODER)


def _best(results: Iterable[RunResult], reference: str) -> Measured:
    scored = [(rho, r) for r in results if (rho := _rho(r, reference)) is not None]
    if not scored:
        return Measured(NOTHING, ())
    rho, best = max(scored, key=lambda pair: pair[0])
    params = ",".join(f"{key}={value}" for key, value in best.method.params.items())
    return Measured(f"{rho:.3f} `{best.method.name}{':' * bool(params)}{params}`", (best,))


def _mixing(results: Sequence[RunResult]) -> Measured:
    for result in _all(results):
        encoder, heard = _rho(result, _ENCODER), _rho(result, _INPUT)
        if encoder is not None and heard is not None:
            return Measured(f"{encoder - heard:+.3f}", (result,))
    return Measured(NOTHING, ())


def _deletion(results: Iterable[RunResult], resolution: str) -> Measured:
    """Return the largest area under the published deletion: cells of the spectrogram, all rows, plain WER."""
    scored = [
        (score.value, result)
        for result in results
        for score in result.scores
        if score.metric == _DELETION
        and score.value is not None
        and score.metric_params == {"resolution": resolution, "rows": "generated", "text": "plain"}
    ]
    if not scored:
        return Measured(NOTHING, ())
    value, best = max(scored, key=lambda pair: pair[0])
    return Measured(f"{value:.1f}", (best,))


def _deletion_cells(results: Sequence[RunResult]) -> Measured:
    return _deletion((r for r in results if r.method.name == _CONTENDER), "cells")


def _deletion_frames(results: Sequence[RunResult]) -> Measured:
    return _deletion((r for r in results if r.method.name == _CONTENDER), "frames")


def _deletion_attention(results: Sequence[RunResult]) -> Measured:
    return _deletion(_all(results), "frames")


_MEASURES: Mapping[str, Callable[[Sequence[RunResult]], Measured]] = {
    "quality": _quality,
    "all_input": _all_input,
    "best_input": _best_input,
    "best_encoder": _best_encoder,
    "mixing": _mixing,
    "deletion_cells": _deletion_cells,
    "deletion_frames": _deletion_frames,
    "deletion_attention": _deletion_attention,
}


def pass_gigaflop(model: Mapping[str, Any], frames: int, tokens: int) -> tuple[float, float]:
    """Return the operations of one pass in 10^9: encoder and decoder, and the decoder alone.

    A multiplication and an addition are two operations. With width d, feed-forward f, T' frames and I
    tokens, per encoder layer 2 T' (4 d f + 5 d^2 + 3 d^2) for two feed-forward parts, attention with its
    relative positions and the convolution module, and 4 T'^2 d for attention; per decoder layer
    2 I (6 d^2 + 2 d f) + 4 T' d^2 (keys and values of the frames) + 4 I (I + T') d; and 2 I d V.
    """
    d, f, v = model["width"], model["feed_forward"], model["vocabulary"]
    encoder = 2 * frames * (4 * d * f + 8 * d * d) + 4 * frames**2 * d
    decoder = 2 * tokens * (6 * d * d + 2 * d * f) + 4 * frames * d * d
    decoder += 4 * tokens * (tokens + frames) * d
    alone = decoder * model["decoder_layers"] + 2 * tokens * d * v
    return (encoder * model["encoder_layers"] + alone) / 1e9, alone / 1e9


def hours(presets: Mapping[str, Mapping[str, int]]) -> str:
    """Return a Markdown table of hours on one A40 for the English test set under presets.

    presets: masks of `spes-input` and `spes-encoder` by preset. The published hours are taken to be
    20,000 full passes per segment, which gives a rate; decoder passes run at the same rate per
    operation.
    """
    known = facts()
    test = known["test_set"]
    frames = round(test["seconds"] * 25)
    tokens = round(test["seconds"] * test["tokens_per_second"])
    body = []
    for name, model in known["models"].items():
        full, alone = pass_gigaflop(model, frames, tokens)
        rate = 20_000 * test["segments"] / (model["published_hours"] * 3600)
        row = [name, f"{full:.0f}", f"{alone:.1f}", f"{rate:.0f}", f"{rate * full / 1000:.1f}"]
        for masks in presets.values():
            heard = test["segments"] * masks[_INPUT] / rate / 3600
            encoder = test["segments"] * masks[_ENCODER] * alone / full / rate / 3600
            row.append(f"{heard:.1f} + {encoder:.1f}")
        body.append(row)
    head = ["model", "GFLOP, full pass", "GFLOP, decoder", "full passes/s", "TFLOP/s"]
    return table([*head, *(f"hours, `{preset}`" for preset in presets)], body)
