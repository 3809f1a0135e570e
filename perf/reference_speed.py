"""What one mask of a reference costs, against what people would run instead.

    python perf/reference_speed.py                          writes perf/reference_speed.md and perf/reference_speed.json
    python perf/reference_speed.py --time-to-reliability    adds the time to reliability 0.9 to both
    python perf/reference_speed.py --quick                  a look: three rows, nothing is written

    ... --cpu-time      for a busy machine: process CPU seconds at one thread instead of wall time at all cores

Every part is written when it is done, so an interrupted run keeps what it has; the report names what is missing.

Each figure is a ratio of medians of interleaved repeats, (a), (b), (c) as follows; every way runs twice in its turn
and the second is timed. Precision is forced, since random weights say nothing about it (`hiding.passes` checks it
on trained ones).

(a) the plain way: eager float32 attention, one full forward per batch of masked inputs, keys and values projected for
    every mask, log-softmax over the whole vocabulary; for `spes-encoder` the decoder only. At its best batch size, and
    twice: as users run it (default allocator: a process of its own, which takes turns with this one) and
    with our allocator settings;
(b) captum's FeatureAblation and KernelShap over the same model (SDPA, float32) and segments, per forward pass, in the
    same two ways;
(c) the roofline: counted operations of the encoder over the best matrix-product rate on the encoder's own shapes.

Time to reliability: 20,000 masks of (a) against a whole reference of the preset `fast` until reliability 0.9, with its
segments, checks and estimator (the twin is made once per run); median over utterances that the models transcribe
well. A reference that stops at its most masks without getting there counts with the time it took, and is marked.

Peak memory is that of a process that does one thing. No GPU was there to measure on.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from xbench import registry
from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.data.demo import demo_manifest
from xbench.hiding.batching import Batched, Start, batched_measure
from xbench.hiding.cells import EncoderFrames, SpectrogramCells
from xbench.hiding.effect import Shift, divergence, kl_divergence
from xbench.hiding.segments import Segmentation, frame_segments, superpixels
from xbench.hiding.twin import twin
from xbench.hiding.way import frozen_way, way_in
from xbench.models.device import precision_of
from xbench.models.loading import load_model
from xbench.models.protocol import Hypothesis, SpeechModel
from xbench.references.estimation import Sampling
from xbench.spec import Decoding
from xbench.tasks import load_task

sys.path.insert(0, str(Path(__file__).parent))
from subjects import MODELS, subjects

from methods import medians, whisper_tiny_sized

HERE = Path(__file__).parent
Space = Literal["encoder", "input"]
RATES = (400.0, 500.0, 600.0)
AS_USERS = " as users run it"
OWN, CAPTUM = "plain", ("FeatureAblation", "KernelShap")
USERS = OWN + AS_USERS
_CPU_TIME = "XBENCH_PERF_CPU_TIME"  # inherited by the processes started here
_PAPER = 20_000  # masks of the paper's protocol
_TURNS = 5  # measurements of others before and after a reference


def now() -> float:
    """Seconds of the clock in use: wall time, or CPU time of this process when it has one thread."""
    return time.process_time() if os.environ.get(_CPU_TIME) else time.perf_counter()


# -- what is measured -----------------------------------------------------------------------------


def noise_case(model: SpeechModel, seconds: float, tokens: int) -> Case:
    """A clip of noise with a hypothesis that nobody decoded: timing does not depend on either."""
    audio = np.random.default_rng(0).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)
    ids = tuple(range(10, 10 + tokens))
    hypothesis = Hypothesis(
        (641, 642, 647, 651), ids, tuple(map(str, ids)), tuple(range(tokens)), "", truncated=True
    )
    return Case(model, model.features(audio), hypothesis, "perf")


def packaged_case() -> Case:
    """A packaged German clip with its real hypothesis."""
    model = load_model("xbench-tiny", device="cpu")
    path = demo_manifest("test").parent / "audio" / "de-0001.flac"
    features = model.features(read_audio(path, 16_000))
    return Case(model, features, model.decode(features, "de", None, Decoding()), "perf")


def segments(case: Case, space: Space) -> Segmentation:
    """Return the segments of a reference; of SLIC one level, which is as slow as three."""
    if space == "encoder":
        return frame_segments(case.features.frames)
    features = case.features
    return superpixels(
        features.valid.numpy(),
        features.melframes * features.melframe_seconds,
        rates=RATES[:1],
        cap_seconds=7.5,
        compactness=0.1,
        sigma=0.0,
    )


def random_cells(case: Case, space: Space, masks: int) -> Tensor:
    """Return hidden cells [mask, *cells]; frames with p = 0.7, cells of single frames and mels with p = 0.5."""
    generator = torch.Generator().manual_seed(0)
    if space == "encoder":
        return torch.rand(masks, case.features.frames, generator=generator) < 0.7
    return torch.rand(masks, *case.features.valid.shape, generator=generator) < 0.5


def ours(
    case: Case, space: Space, *, frozen: bool = False, dtype: torch.dtype = torch.bfloat16
) -> Batched[Shift]:
    """Return the passes that a reference would run in this precision."""
    cells = EncoderFrames(case) if space == "encoder" else SpectrogramCells(case)
    with torch.inference_mode():
        if frozen:
            assert isinstance(cells, SpectrogramCells)
            way, rows = frozen_way(cells, precision_of(dtype)), case.features.frames
        else:
            way, rows = way_in(cells, precision_of(dtype)), cells.positions
        assert way is not None
        start = Start.on(case.features.values.device, rows)
        return batched_measure(way.measure(divergence, cells.clean), start)


def plain(case: Case, space: Space) -> Callable[[Tensor], Tensor]:
    """Return the plain way: hidden cells [batch, *cells] to divergences [batch, token]."""
    model: Any = case.model
    network = copy.deepcopy(model.network)
    network.set_attn_implementation("eager")
    eager: Any = replace(model, network=network)
    features, hypothesis = case.features, case.hypothesis
    with torch.inference_mode():
        encoded = eager.encode(features.values[None])
        log_p = eager.logits(encoded, hypothesis)[0].log_softmax(-1)

    def run(hidden: Tensor) -> Tensor:
        with torch.inference_mode():
            if space == "encoder":
                keep = torch.ones(len(hidden), encoded.shape[1])
                keep[:, : features.frames] = (~hidden).float()
                states = encoded * keep[..., None]
            else:
                values = features.values.repeat(len(hidden), 1, 1)
                neutral = features.valid.mean(0)
                values[:, : features.melframes] = torch.where(hidden, neutral, features.valid)
                states = eager.encode(values)
            return kl_divergence(log_p, eager.logits(states, hypothesis).log_softmax(-1))

    return run


def best_batch(run: Callable[[Tensor], Any], hidden: Tensor) -> int:
    """Return the batch size at which a way is fastest per mask: of one, a quarter of the masks, all of them."""
    run(hidden[:1])
    sizes = sorted({1, len(hidden) // 4, len(hidden)})
    found = {size: _seconds(run, hidden[:size]) / size for size in sizes}
    return min(found, key=lambda size: found[size])


def _seconds(run: Callable[[Tensor], Any], hidden: Tensor) -> float:
    started = now()
    run(hidden)
    return now() - started


def _again(way: Callable[[], object]) -> float:
    """Return the seconds of a second call: a reference makes thousands, one after another and not in turn."""
    way()
    started = now()
    way()
    return now() - started


def captum_ways(
    case: Case, space: Space, samples: int
) -> dict[str, tuple[int, Callable[[], object]]]:
    """Return FeatureAblation and KernelShap: the forward passes of a call, counted, and the call."""
    from captum.attr import FeatureAblation, KernelShap

    model, features, hypothesis = case.model, case.features, case.hypothesis
    with torch.inference_mode():
        encoded = model.encode(features.values[None])
        log_p = model.logits(encoded, hypothesis)[0].log_softmax(-1)
    labels = torch.from_numpy(segments(case, space).labels[0]).long()
    batch = 4 if space == "encoder" else 1
    if space == "encoder":
        subject = encoded[:, : features.frames]
        rest, baseline, grid = encoded[:, features.frames :], 0.0, labels[None, :, None]
    else:
        subject = features.valid[None]
        rest, grid = features.values[None, features.melframes :], labels[None]
        baseline = features.valid.mean(0).expand_as(features.valid)[None]

    passes_made = 0

    def score(inputs: Tensor) -> Tensor:
        nonlocal passes_made
        passes_made += len(inputs)
        whole = torch.cat([inputs, rest.expand(len(inputs), -1, -1)], 1)
        states = whole if space == "encoder" else model.encode(whole)
        log_q = model.logits(states, hypothesis).log_softmax(-1)
        return kl_divergence(log_p, log_q).sum(-1)

    # FeatureAblation makes a pass per feature, and one of the input: as many groups as passes are wanted.
    groups = grid % (samples - 1)

    def ablation() -> object:
        with torch.inference_mode():
            return FeatureAblation(score).attribute(
                subject, baselines=baseline, feature_mask=groups, perturbations_per_eval=batch
            )

    def shap() -> object:
        with torch.no_grad():
            return KernelShap(score).attribute(
                subject,
                baselines=baseline,
                feature_mask=grid,
                n_samples=samples,
                perturbations_per_eval=batch,
            )

    counted = {}
    for name, way in zip(CAPTUM, (ablation, shap), strict=True):
        passes_made = 0
        way()
        counted[name] = (passes_made, way)
    return counted


# -- another process ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """How a case is made in any process: a packaged clip, a Whisper-tiny-sized model in a folder, or a subject.

    subject: name of a model of `subjects`, and which of its clips.
    """

    folder: str | None
    seconds: float = 0.0
    tokens: int = 25
    subject: tuple[str, int] | None = None

    def case(self) -> Case:
        """Load the model and make the clip."""
        if self.subject is not None:
            name, clip = self.subject
            return list(subjects(name, clip + 1))[-1].case
        if self.folder is None:
            return packaged_case()
        return noise_case(
            load_model(f"whisper:{self.folder}", device="cpu"), self.seconds, self.tokens
        )


def _as_users(place: Place, space: Space, masks: int, samples: int, pipe: Any) -> None:
    """Answer the name of a way with its seconds per mask, in a process with the default allocator.

    samples: of captum at a time; 0 leaves captum out.
    """
    from xbench.models import loading

    loading.keep_freed_memory = lambda: False  # type: ignore[assignment]
    case = place.case()
    run, hidden = plain(case, space), random_cells(case, space, masks)
    size = best_batch(run, hidden)
    ways: dict[str, tuple[int, Callable[[], object]]] = {OWN: (size, lambda: run(hidden[:size]))}
    if samples:
        ways |= captum_ways(case, space, samples)
    pipe.send(size)
    while (name := pipe.recv()) is not None:
        count, way = ways[name]
        pipe.send(_again(way) / count)


def _memory(place: Place, space: Space, way: str, masks: int, pipe: Any) -> None:
    case = place.case()
    hidden = random_cells(case, space, masks)
    if way == "plain":
        run = plain(case, space)
        for part in hidden.split(4 if space == "input" else 16):
            run(part)
    else:
        measure = ours(case, space, frozen=way == "frozen")
        with torch.inference_mode():
            for part in hidden.split(32):
                measure(part)
    # Not ru_maxrss: a new process inherits that of the one which started it.
    status = Path("/proc/self/status").read_text().split()
    pipe.send(int(status[status.index("VmHWM:") + 1]) * 1024 / 1e9)


def _spawn(target: Callable[..., None], *arguments: Any) -> tuple[Any, Any]:
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=target, args=(*arguments, theirs))
    process.start()
    return process, pipe


def peak_memory(place: Place, space: Space, way: str, masks: int) -> float:
    """Return the peak memory in GB of a process that runs so many masks, libraries and weights included."""
    process, pipe = _spawn(_memory, place, space, way, masks)
    found = float(pipe.recv())
    process.join()
    return found


# -- figures --------------------------------------------------------------------------------------


def speed(
    place: Place, space: Space, repeats: int, *, frozen: bool = False, captum: bool = True
) -> dict[str, float]:
    """Return seconds per mask of ours and of all others, measured in turn."""
    case = place.case()
    masks = 16 if space == "encoder" else 4
    samples = 2 if space == "input" else 9
    process, users = _spawn(_as_users, place, space, masks, samples if captum else 0)
    users_batch = users.recv()
    run, hidden = plain(case, space), random_cells(case, space, masks)
    size = best_batch(run, hidden)
    measure = ours(case, space, frozen=frozen)
    own = random_cells(case, space, measure.size)
    actions: dict[str, tuple[int, Callable[[], object]]] = {
        "ours": (measure.size, lambda: measure(own)),
        OWN: (size, lambda: run(hidden[:size])),
    }
    if captum:
        actions |= captum_ways(case, space, samples)
    seconds: dict[str, list[float]] = {}
    with torch.inference_mode():
        for turn in range(repeats + 1):
            for name, (count, action) in actions.items():
                seconds.setdefault(name, []).append(_again(action) / count)
                if name != "ours":
                    users.send(name)
                    seconds.setdefault(name + AS_USERS, []).append(users.recv())
            if turn == 0:  # warm now
                seconds = {}
    users.send(None)
    process.join()
    found = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        space,
        f"{place.seconds:g} s",
        {k: f"{1e3 * v:.1f} ms" for k, v in found.items()},
        flush=True,
    )
    return {**found, "batch": measure.size, "plain batch": size, "users batch": users_batch}


def roofline(place: Place, repeats: int) -> dict[str, float]:
    """Return the encoder's operations per second in bfloat16 against the best product over its own shapes."""
    case = place.case()
    found = twin(case.model, torch.bfloat16)
    assert found is not None
    network = found.model.network.model.encoder  # type: ignore[attr-defined]
    config = network.config
    frames, dim, heads = config.max_source_positions, config.d_model, config.encoder_attention_heads
    batch = 4
    values = case.features.values.repeat(batch, 1, 1)

    def product(*shape: int, count: int = 1) -> tuple[float, Callable[[], object]]:
        rows, inner, columns = shape
        left = torch.randn(count, rows, inner).bfloat16()
        right = torch.randn(count, inner, columns).bfloat16()
        return 2.0 * count * rows * inner * columns, lambda: left @ right

    wide = config.encoder_ffn_dim
    products = {
        "dim to dim": product(batch * frames, dim, dim),
        "dim to wide": product(batch * frames, dim, wide),
        "wide to dim": product(batch * frames, wide, dim),
        "scores": product(frames, dim // heads, frames, count=heads),
        "weighted values": product(frames, frames, dim // heads, count=heads),
    }
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            found.model.encode(values)
        actions = {name: action for name, (_, action) in products.items()}
        seconds = medians({"encoder": lambda: found.model.encode(values), **actions}, repeats, now)
    rates = {name: products[name][0] / seconds[name] / 1e9 for name in products}
    achieved = counter.get_total_flops() / seconds["encoder"] / 1e9
    best = max(rates.values())
    return {
        "encoder GFLOP/s": achieved,
        "best product GFLOP/s": best,
        "share": achieved / best,
        **rates,
    }


def growth(folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Return seconds per mask of ours over the first of each row, `spes-encoder` unless said otherwise."""
    model = load_model(f"whisper:{folder}", device="cpu")

    def per_mask(
        case: Case, space: Space, count: int, **options: Any
    ) -> tuple[int, Callable[[], object]]:
        measure = ours(case, space, **options)
        hidden = random_cells(case, space, count)
        return count, lambda: measure(hidden)

    def row(found: Mapping[str, tuple[int, Callable[[], object]]]) -> dict[str, float]:
        with torch.inference_mode():
            seconds = medians({name: action for name, (_, action) in found.items()}, repeats, now)
        each = {name: seconds[name] / found[name][0] for name in found}
        first = next(iter(each.values()))
        return {name: value / first for name, value in each.items()}

    def small_vocabulary(size: int) -> SpeechModel:
        any_model: Any = model
        network = copy.deepcopy(any_model.network)
        network.resize_token_embeddings(size, mean_resizing=False)
        return replace(any_model, network=network)

    case = noise_case(model, 25, 25)
    return {
        "masks": row({str(n): per_mask(case, "encoder", n) for n in (32, 128)}),
        "clip, seconds": row(
            {str(s): per_mask(noise_case(model, s, 25), "encoder", 32) for s in (5, 15, 25)}
        ),
        "clip, seconds (spes-input, frozen padding)": row(
            {
                str(s): per_mask(noise_case(model, s, 25), "input", 4, frozen=True)
                for s in (5, 15, 25)
            }
        ),
        "tokens": row(
            {str(n): per_mask(noise_case(model, 25, n), "encoder", 16) for n in (15, 30, 60)}
        ),
        "vocabulary": row(
            {
                str(n): per_mask(noise_case(small_vocabulary(n), 25, 25), "encoder", 32)
                for n in (5_000, 51_865)
            }
        ),
    }


def time_to_reliability(name: str, clip: int, space: Space) -> dict[str, Any] | None:
    """Return the seconds of a reference until 0.9, and those of (a) for one mask both ways, on one clip.

    None where the model has no such clip or cannot take it.
    """
    clips = MODELS[name][2]
    if clip >= len(clips):
        return None
    place = Place(None, subject=(name, clip))
    case = place.case()
    if case.key != clips[clip]:
        return None
    process, users = _spawn(_as_users, place, space, 16, 0)
    users.recv()
    run, hidden = plain(case, space), random_cells(case, space, 16)
    size = best_batch(run, hidden)
    task = load_task("asr", "fast")
    call = next(c for c in task.references if c.name == f"spes-{space}")
    options = {**call.given, "precision": "auto"}
    make = registry.references.get(call.name).load()
    # As in a run, where an utterance before this one has made the twin of the model.
    make(case, Sampling(scoring=task.scoring), **{**options, "masks": 64})
    each: dict[str, list[float]] = {OWN: [], USERS: []}

    def others() -> None:
        for _ in range(_TURNS):
            each[OWN].append(_again(lambda: run(hidden[:size])) / size)
            users.send(OWN)
            each[USERS].append(users.recv())

    # Before and after, so that a machine that slows down slows both.
    others()
    started = now()
    reference = make(case, Sampling(scoring=task.scoring), **options)
    seconds = now() - started
    others()
    users.send(None)
    process.join()
    found = {
        "masks": sum(reference.masks),
        "converged": bool(reference.converged),
        "precision": reference.computation["precision"],
        "seconds": seconds,
        **{
            f"faster than {way}": _PAPER * statistics.median(v) / seconds for way, v in each.items()
        },
    }
    print(name, case.key, f"spes-{space}", found, flush=True)
    return {"model": name, "clip": case.key, "reference": f"spes-{space}", **found}


# -- report ---------------------------------------------------------------------------------------


def must_reach(report: dict[str, Any]) -> list[tuple[str, float, float, bool]]:
    """Return what, target, measured, met; of what has been measured."""
    speeds, rows = report.get("seconds_per_mask", {}), []
    size = "Whisper-tiny size"
    for row, other, what, target in (
        ("spes-encoder, 25 s", USERS, f"spes-encoder, {size}, 25 s, (a) as users run it", 6.0),
        ("spes-encoder, 25 s", OWN, "the same, (a) with our allocator settings", 6.0),
        ("spes-input, 25 s", USERS, f"spes-input, {size}, 25 s, (a) as users run it", 4.0),
        ("spes-input, 25 s", OWN, "the same, (a) with our allocator settings", 2.5),
        ("spes-input, 5 s, frozen", USERS, f"spes-input, {size}, 5 s, frozen, (a) as users", 12.0),
    ):
        if row in speeds:
            rows.append((what, target, speeds[row][other] / speeds[row]["ours"]))
    found = report.get("time_to_reliability", [])
    for name, target in (("spes-encoder", 20.0), ("spes-input", 12.0)):
        for way in (USERS, OWN):
            ratios = [r[f"faster than {way}"] for r in found if r["reference"] == name]
            if ratios:
                what = f"{name}, time to reliability 0.9, {len(ratios)} clips, (a) = {way}"
                rows.append((what, target, statistics.median(ratios)))
    for row, each in speeds.items():
        for other in CAPTUM:
            for way in (other + AS_USERS, other):
                if way in each:
                    rows.append((f"{row}, against captum {way}", 3.0, each[way] / each["ours"]))
    if "roofline" in report:
        rows.append(
            ("encoder of spes-input, share of the roofline", 0.45, report["roofline"]["share"])
        )
    table = [(what, target, value, value >= target) for what, target, value in rows]
    for name, peak in report.get("peak_memory_gb", {}).items():
        if name.startswith("spes-input, 25 s, 60 tokens, ours"):
            table.append((f"peak memory in GB, {name}", 3.0, peak, peak < 3.0))
    return table


PARTS = ("seconds_per_mask", "roofline", "peak_memory_gb", "growth", "time_to_reliability")


def render(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    machine = report["machine"]
    lines = [
        "# Cost of a reference, per mask and to a reliability",
        "",
        "Made by `python perf/reference_speed.py`; what (a), (b), (c) are stands on top of it. Medians of interleaved",
        f"repeats on {machine['cores']} CPU cores, {report['clock']}; ours in bfloat16. Load when it began:"
        f" {machine['load']:.1f}.",
        "",
    ]
    missing = [part for part in PARTS if part not in report]
    if missing:
        lines += [f"Not measured in this run: {', '.join(missing)}.", ""]
    lines += ["| what | target | measured | met |", "|---|---|---|---|"]
    for what, target, value, met in must_reach(report):
        lines.append(f"| {what} | {target:g} | {value:.2f} | {'yes' if met else 'no'} |")
    names = ("ours", *(way + run for way in (OWN, *CAPTUM) for run in (AS_USERS, "")))
    if "seconds_per_mask" in report:
        lines += ["", "Milliseconds per mask (or forward pass):", "", f"| | {' | '.join(names)} |"]
        lines.append("|---|" + "---|" * len(names))
        for row, found in report["seconds_per_mask"].items():
            cells = [f"{1e3 * found[n]:.1f}" if n in found else "-" for n in names]
            lines.append(f"| {row} | {' | '.join(cells)} |")
    if "time_to_reliability" in report:
        lines += ["", "Time to reliability 0.9 (how much faster than 20,000 masks of (a)):", ""]
        lines += [f"| clip | masks | precision | seconds | {OWN} | {USERS} |", "|" + "---|" * 6]
        for row in report["time_to_reliability"]:
            mark = "" if row["converged"] else " (not reached)"
            ratios = " | ".join(f"{row[f'faster than {way}']:.1f}" for way in (OWN, USERS))
            lines.append(
                f"| {row['reference']}, {row['model']}, {row['clip']} | {row['masks']}{mark} "
                f"| {row['precision']} | {row['seconds']:.1f} | {ratios} |"
            )
    if "growth" in report:
        lines += ["", "Time per mask over the first column of each row:", ""]
        for row, found in report["growth"].items():
            lines.append(f"- {row}: " + ", ".join(f"{k}: {v:.2f}" for k, v in found.items()))
    if "peak_memory_gb" in report:
        lines += ["", "Peak memory of a process, GB (libraries and weights included):", ""]
        lines += [f"- {name}: {value:.2f}" for name, value in report["peak_memory_gb"].items()]
    if "roofline" in report:
        lines += ["", "Matrix-product rates in GFLOP/s, bfloat16:", ""]
        rates = report["roofline"].items()
        lines += [f"- {name}: {value:.0f}" for name, value in rates if name != "share"]
    return "\n".join(lines) + "\n"


def measured(folder: str, *, quick: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield part after part, the most important first; a part may come in several pieces."""
    repeats = 1 if quick else 5
    tiny, short, long = Place(None), Place(folder, 5.0), Place(folder, 25.0)
    many = Place(folder, 25.0, tokens=60)
    rows: list[tuple[str, Place, Space, bool]] = [
        ("spes-encoder, 25 s", long, "encoder", False),
        ("spes-input, 25 s", long, "input", False),
        ("spes-input, 5 s, frozen", short, "input", True),
    ]
    if not quick:
        rows += [
            ("spes-encoder, 5 s", short, "encoder", False),
            ("spes-encoder, xbench-tiny", tiny, "encoder", False),
            ("spes-input, xbench-tiny", tiny, "input", False),
        ]
    for name, place, space, frozen in rows:
        found = speed(place, space, repeats, frozen=frozen, captum=not quick and not frozen)
        yield "seconds_per_mask", {name: found}
    yield "roofline", roofline(long, repeats)
    if quick:
        return
    peaks: list[tuple[str, Place, Space, str, int]] = [
        ("spes-input, 25 s, 60 tokens, ours, 8 masks", many, "input", "ours", 8),
        ("spes-input, 25 s, 60 tokens, ours, 32 masks", many, "input", "ours", 32),
        ("spes-input, 25 s, 60 tokens, (a), 8 masks", many, "input", "plain", 8),
        ("spes-encoder, 25 s, 60 tokens, ours, 64 masks", many, "encoder", "ours", 64),
        ("spes-encoder, 25 s, 60 tokens, ours, 256 masks", many, "encoder", "ours", 256),
        ("spes-encoder, 25 s, 60 tokens, (a), 32 masks", many, "encoder", "plain", 32),
        ("spes-input, 5 s, frozen, ours, 32 masks", short, "input", "frozen", 32),
        ("xbench-tiny, spes-input, ours, 32 masks", tiny, "input", "ours", 32),
    ]
    for name, place, space, way, masks in peaks:
        yield "peak_memory_gb", {name: peak_memory(place, space, way, masks)}
    yield "growth", growth(Path(folder), repeats)


def main() -> None:
    """Measure and write the report, part by part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three rows, one repeat, only printed")
    parser.add_argument("--time-to-reliability", action="store_true", help="only that part")
    parser.add_argument("--clips", type=int, default=6, help="per model, time to reliability")
    parser.add_argument("--input-clips", type=int, default=3, help="the same for spes-input")
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds at one thread")
    arguments = parser.parse_args()
    if arguments.cpu_time:
        os.environ |= {_CPU_TIME: "1", "OMP_NUM_THREADS": "1"}
        torch.set_num_threads(1)
    json_file = HERE / "reference_speed.json"
    report: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "clock": "CPU seconds at one thread" if arguments.cpu_time else "wall time",
    }
    if json_file.exists() and not arguments.quick:
        before = json.loads(json_file.read_text())
        if arguments.time_to_reliability:
            report = {k: v for k, v in before.items() if k != "time_to_reliability"}
        elif "time_to_reliability" in before:
            report["time_to_reliability"] = before["time_to_reliability"]

    def write() -> None:
        if not arguments.quick:
            json_file.write_text(json.dumps(report, indent=1) + "\n")
            (HERE / "reference_speed.md").write_text(render(report))

    try:
        if arguments.time_to_reliability:
            spaces: dict[Space, int] = {
                "encoder": arguments.clips,
                "input": arguments.input_clips,
            }
            for space, clips in spaces.items():
                for model, clip in product(("whisper-micro", "xbench-tiny"), range(clips)):
                    row = time_to_reliability(model, clip, space)
                    if row is not None:
                        report.setdefault("time_to_reliability", []).append(row)
                        write()
        else:
            with tempfile.TemporaryDirectory() as folder:
                whisper_tiny_sized(Path(folder))
                for part, piece in measured(folder, quick=arguments.quick):
                    report.setdefault(part, {}).update(piece)
                    write()
    except KeyboardInterrupt:
        print("interrupted: the report holds what was measured before")
    print(render(report))


if __name__ == "__main__":
    main()
