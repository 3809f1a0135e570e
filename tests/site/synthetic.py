"""Result files that nobody measured: for tests and timings of the site."""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xbench import stats

METHODS = (
    ("mean-heads", {"heads": "all", "layers": "all"}, "attention", False),
    ("mean-heads", {"heads": "all", "layers": "last"}, "attention", False),
    ("max-heads", {"heads": "all", "layers": "all"}, "attention", False),
    ("value-norm", {"heads": "together", "layers": "all"}, "attention", False),
    ("alignment-heads", {}, "attention", False),
    ("chefer", {}, "gradient", True),
    ("saliency", {}, "gradient", True),
    ("input-x-gradient", {}, "gradient", True),
    ("integrated-gradients", {"steps": 50}, "gradient", True),
    ("occlusion", {"window": 4}, "perturbation", False),
    ("rise", {"masks": 500}, "perturbation", False),
    ("diagonal", {"width": 0.2}, "control", False),
    ("random", {"seed": 0}, "control", False),
    ("uniform", {}, "control", False),
)
SCORES = (("pearson", "spes-encoder"), ("pearson-paper", "spes-encoder"))
MORE_SCORES = (
    *SCORES,
    ("pearson", "spes-input"),
    ("pearson-paper", "spes-input"),
    ("deletion-auc", None),
    ("insertion-auc", None),
)


def sha(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def head(layer: int, number: int) -> tuple[str, dict[str, Any], str, bool]:
    return "raw-attention", {"layer": layer, "head": number}, "attention", False


def result(
    task: str = "demo-asr-en",
    model: str = "xbench-tiny",
    method: tuple[str, dict[str, Any], str, bool] = METHODS[0],
    *,
    scores: Sequence[tuple[str, str | None]] = SCORES,
    utterances: int = 12,
    clusters: int = 8,
    missing: bool = False,
    seed: int = 0,
    date: str = "2026-05-01",
    texts: Sequence[str] = (),
) -> dict[str, Any]:
    """Return one valid result; `texts` replace what strangers may write."""
    name, params, kind, gradients = method
    generator = random.Random(sha(task, model, name, sorted(params.items()), seed))
    quality = {"attention": 0.5, "gradient": 0.4, "perturbation": 0.45, "control": 0.05}[kind]
    quality += 0.1 * random.Random(sha(name, sorted(params.items()))).gauss(0, 1)
    stranger = texts[0] if texts else "made up"
    columns: dict[str, list[Any]] = {
        "id": [f"clip-{i:04d}" for i in range(utterances)],
        "cluster": [f"speaker-{i % clusters}" for i in range(utterances)],
        "hypothesis": [stranger] * utterances,
        "truncated": [False] * utterances,
        "tokens": [4] * utterances,
        "frames": [100] * utterances,
        "wer": [4.2] * utterances,
        "map_hash": [sha(name, i)[:16] for i in range(utterances)],
    }
    for reference in sorted({r for _, r in scores if r}):
        columns |= {
            f"reliability@{reference}": [0.83] * utterances,
            f"masks@{reference}": [2000] * utterances,
            f"row_reliability@{reference}": [[0.83] * 4] * utterances,
        }
    records = []
    for metric, reference in scores:
        column = metric if reference is None else f"{metric}@{reference}"
        values = [
            None if missing else round(generator.gauss(quality, 0.1), 6) for _ in range(utterances)
        ]
        floors = [round(0.1 + 0.01 * (i % 5), 6) for i in range(utterances)]
        ceilings = [round(0.85 + 0.01 * (i % 5), 6) for i in range(utterances)]
        columns |= {column: values, f"floor:{column}": floors, f"ceiling:{column}": ceilings}
        records.append(
            _score(metric, reference, values, floors, ceilings, columns["cluster"], seed)
        )
    seconds = {"attention": 0.01, "gradient": 0.2, "perturbation": 3.0, "control": 0.0002}[kind]
    seconds *= 1 + generator.random()
    return {
        "schema": "xbench.result/1",
        "status": "complete",
        "reason": None,
        "task": {
            "name": task,
            "version": 1,
            "hash": sha("task", task),
            "kind": "asr",
            "source_language": ["en"],
            "target_language": None,
            "preset": "fast",
            "split": "test",
            "selection": {"ids": [], "limit": None},
            "scoring": {"pool_time": "max"},
            "decoding": {"beams": 5},
            "headline": {"metric": "pearson", "reference": "spes-encoder"},
            "floor": "diagonal:width=0.2",
            "dataset": {
                "name": texts[1] if len(texts) > 1 else "demo",
                "revision": None,
                "fingerprint": sha("clips", task, utterances),
                "n": utterances,
            },
        },
        "model": {
            "name": model,
            "source": "local",
            "revision": sha("model", model),
            "architecture": texts[2] if len(texts) > 2 else "WhisperForConditionalGeneration",
            "n_parameters": 1_333_760,
            "precision": "float32",
            "remote_code": False,
        },
        "method": {
            "name": name,
            "version": "0",  # of no description here, so that none says which parameters it takes
            "params": params,
            "kind": kind,
            "space": "encoder",
            "signed": False,
            "uses_gradients": gradients,
            "distribution": True,
            "fitted": None,
        },
        "references": [
            _reference(name, columns, seed) for name in sorted({r for _, r in scores if r})
        ],
        "quality": {
            "metric": "wer",
            "value": 4.2,
            "n": utterances,
            "poor": 0,
            "poor_threshold": 50.0,
            "reason": None,
        },
        "scores": records,
        "utterances": columns,
        "failures": [],
        "cost": {
            "forward_passes": utterances,
            "backward_passes": utterances if gradients else 0,
            "seconds": round(seconds * 3 * utterances, 6),
            "seconds_per_audio_second": round(seconds, 6),
            "peak_memory_bytes": 590_417_920,
            "device": "cpu",
        },
        "provenance": {
            "xbench": "0.1.0",
            "python": "3.11.7",
            "packages": {"numpy": "2.4.6"},
            "git": None,
            "plugins": [
                {"kind": "model", "name": "whisper", "distribution": "xbench", "version": "0.1.0"}
            ],
            "command": ["xbench", "eval", "--model", "m", "--task", "t"],
            "seed": seed,
            "spec_hash": sha(task, model, name, sorted(params.items()), seed, utterances),
            "started": f"{date}T10:00:00+00:00",
            "finished": f"{date}T10:05:00+00:00",
        },
        "padding_mass": 0.07,
    }


NOTHING = {"value": None, "ci": None, "reason": "no-defined-value", "ci_reason": None}


def unsupported(*args: Any, **options: Any) -> dict[str, Any]:
    """Return a result of a method that cannot explain the model: it knows neither quality nor references."""
    run = result(*args, **options)
    run |= {"status": "unsupported", "reason": "no such layer", "scores": [], "failures": []}
    run |= {
        "padding_mass": None,
        "utterances": {name: [] for name in ("id", "cluster", "map_hash")},
    }
    run["task"]["dataset"]["n"] = 0
    run["quality"] |= {"value": None, "n": 0, "reason": "no-target-text"}
    for reference in run["references"]:
        reference |= {
            "masks": [0, 0],
            "masks_per_utterance": None,
            "neutral_value": None,
            "reliability": NOTHING,
            "ceiling": {"pearson": {**NOTHING, "lower": None, "structural": None}},
            "kept": None,
            "forward_passes": 0,
            "seconds": 0.0,
        }
    run["cost"] |= {"seconds": 0.0, "seconds_per_audio_second": None}
    return run


def _interval(estimate: stats.Estimate) -> dict[str, Any]:
    ci = None if estimate.low is None else [estimate.low, estimate.high]
    why = {"reason": estimate.reason, "ci_reason": estimate.ci_reason}
    return {"value": estimate.value, "ci": ci, **why}


def _mean(values: tuple[float | None, ...], clusters: tuple[str, ...], seed: int) -> dict[str, Any]:
    return _interval(_estimate(values, clusters, seed))


@functools.cache
def _estimate(
    values: tuple[float | None, ...], clusters: tuple[str, ...], seed: int
) -> stats.Estimate:
    return stats.mean_estimate(values, clusters, seed=seed)


def _score(
    metric: str,
    reference: str | None,
    values: Sequence[float | None],
    floors: Sequence[float],
    ceilings: Sequence[float],
    clusters: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    known = [cluster for cluster, value in zip(clusters, values, strict=True) if value is not None]
    estimate = _mean(tuple(values), tuple(clusters), seed)
    return {
        "metric": metric,
        "reference": reference,
        **estimate,
        "reason": None if known else "constant-map",
        "n": len(known),
        "n_clusters": len(set(known)),
        "clusters_assumed": False,
        "undefined": {} if known else {"constant-map": len(values)},
        "floor": _mean(tuple(floors), tuple(clusters), seed),
        "ceiling": {
            **_mean(tuple(ceilings), tuple(clusters), seed),
            "lower": None,
            "structural": None,
        },
        "skill": _interval(stats.skill(values, floors, ceilings, clusters, seed=seed)),
        "disattenuated": _interval(stats.disattenuated(values, ceilings, clusters, seed=seed)),
        "direction": "lower" if metric == "sufficiency-eraser" else "higher",
    }


def _reference(name: str, columns: dict[str, list[Any]], seed: int) -> dict[str, Any]:
    clusters = tuple(columns["cluster"])
    ceiling = _mean(tuple(columns[f"ceiling:pearson@{name}"]), clusters, seed)
    return {
        "name": name,
        "version": "0",
        "params": {"masks": 2000, "p": 0.7},
        "estimator": "masked-mean",
        "masks": [1000, 1000],
        "neutral_value": "zero vector",
        "reliability": _mean(tuple(columns[f"reliability@{name}"]), clusters, seed),
        "ceiling": {"pearson": {**ceiling, "lower": None, "structural": None}},
        "converged": None,
        "kept": 0.7,
        "forward_passes": 100,
        "seconds": 1.5,
    }


def many(rows: int) -> Iterator[dict[str, Any]]:
    """Yield results with about this many scores: 14 methods and single heads, 12 models, 6 tasks."""
    made = 0
    copies = 0
    while True:
        for task in range(6):
            for model in range(12):
                for method in (*METHODS, *(head(i // 4, i % 4) for i in range(8))):
                    if made >= rows:
                        return
                    name = f"task-{task}" if not copies else f"task-{task}-part-{copies}"
                    yield result(name, f"model-{model}", method, scores=MORE_SCORES)
                    made += len(MORE_SCORES)
        copies += 1


def write(folder: Path, results: Sequence[dict[str, Any]] | Iterator[dict[str, Any]]) -> Path:
    """Write results as files and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(results):
        (folder / f"{number:05d}.json").write_text(json.dumps(content), "utf-8")
    return folder
