"""References on a GPU: ours against the way that any user would write, per mask and as a whole.

    python perf/gpu.py --base FOLDER     writes perf/gpu.md and .json, in under five minutes on an H100
    python perf/gpu.py --small           the same on this machine with a small model: a look, nothing is written

FOLDER: Whisper-base in transformers' format. Without it the model has its size and random weights, which changes no
time. The large model always has random weights. In one process, taking turns:

- *ours*: passes as a reference of xbench runs them here, in each fast precision of the device, at the batch size that
  it finds;
- *plain*: the masked encoder outputs or spectrograms as one batch through transformers' own SDPA model in half
  precision, log-softmax and divergence in float32, at its best batch size of five;
- *captum*: FeatureAblation of the same model in half precision, same segments, per forward pass.

Whole references are `spes-encoder` and `spes-input` as `paper` estimates them, in the precision chosen; "over passes"
is their time over that of their passes alone. Share: operations of the encoder, counted, per second, over the rate of a
product of two 8,192-square matrices in half precision. Agreement: correlation of each token's divergence with that of
the CPU in float32 over the same masks, lowest and median token.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from xbench import registry
from xbench.case import Case
from xbench.hiding.batching import Batched, Start, batched_measure
from xbench.hiding.cells import EncoderFrames, SpectrogramCells
from xbench.hiding.effect import Shift, divergence
from xbench.hiding.twin import twin
from xbench.hiding.way import way_in
from xbench.models.device import FLOAT32, Precision, device_of, fast_precisions, wait
from xbench.models.loading import load_model
from xbench.references.estimation import Sampling
from xbench.tasks import load_task

sys.path.insert(0, str(Path(__file__).parent))
from reference_speed import noise_case, random_cells, segments

HERE = Path(__file__).parent
SPACES = {"encoder": "SM^H", "input": "SM^X"}
# Batch sizes that the plain way tries.
PLAIN = {"encoder": (16, 64, 128, 256, 512), "input": (4, 16, 43, 64, 128)}
TARGETS = {
    ("base", "encoder"): 4.0,
    ("large", "encoder"): 3.0,
    ("base", "input"): 2.0,
    ("large", "input"): 1.7,
}


@dataclass(frozen=True)
class Size:
    """A model to measure, and how much of it.

    config: of WhisperConfig, beside the vocabulary. masks: of one timed round, and of a whole reference, by space.
    """

    name: str
    config: Mapping[str, int]
    seconds: float
    tokens: int
    round: Mapping[str, int]
    whole: Mapping[str, int]


def _layers(width: int, layers: int, heads: int) -> dict[str, int]:
    both = {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * width}
    return {f"{side}_{k}": v for side in ("encoder", "decoder") for k, v in both.items()} | {
        "d_model": width
    }


BASE = Size(
    "base",
    _layers(512, 6, 8),
    11.0,
    26,
    {"encoder": 8192, "input": 512},
    {"encoder": 20_000, "input": 20_000},
)
LARGE = Size(
    "large",
    _layers(1280, 32, 20),
    25.0,
    40,
    {"encoder": 2048, "input": 96},
    {"encoder": 4_000, "input": 0},
)
SMALL = Size(
    "small", _layers(64, 2, 2), 3.0, 6, {"encoder": 128, "input": 16}, {"encoder": 500, "input": 60}
)


@dataclass
class Measured:
    """What one model and space gave; times in microseconds per mask."""

    model: str
    space: str
    batch: dict[str, int] = field(default_factory=dict)
    microseconds: dict[str, float] = field(default_factory=dict)
    memory_gb: dict[str, float] = field(default_factory=dict)
    whole_seconds: float | None = None
    whole_masks: int = 0
    over_passes: float | None = None
    chosen: dict[str, Any] = field(default_factory=dict)
    agreement: dict[str, tuple[float, float]] = field(default_factory=dict)
    encoder_share: float | None = None

    @property
    def best(self) -> float:
        """The fastest of ours in a lower precision."""
        lower = [v for k, v in self.microseconds.items() if k.startswith("ours ")]
        return min(lower)


def model_of(size: Size, folder: Path, device: str, given: str | None) -> Any:
    """Return a loaded model: the given folder, or random weights of a size."""
    if given is not None:
        return load_model(f"whisper:{given}", device=device)
    from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor

    source = Path(registry.__file__).parent / "demo" / "model"
    processor = WhisperProcessor.from_pretrained(source)
    processor.feature_extractor.chunk_length = 30
    processor.feature_extractor.n_samples = 480_000
    processor.feature_extractor.nb_max_frames = 3_000
    small = json.loads((source / "config.json").read_text())
    limits = {"max_source_positions": 1500, "max_target_positions": 448, "vocab_size": 51_865}
    torch.manual_seed(0)
    network = WhisperForConditionalGeneration(WhisperConfig(**{**small, **size.config, **limits}))
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "generation_config.json").write_text((source / "generation_config.json").read_text())
    return load_model(f"whisper:{folder}", device=device)


def seconds_of(run: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """Return the median seconds of a run that has run before."""
    run()
    taken = []
    for _ in range(repeats):
        wait(device)
        started = time.perf_counter()
        run()
        wait(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def cells_of(case: Case, space: str) -> Any:
    """Return the cells that a reference of this space hides."""
    return EncoderFrames(case) if space == "encoder" else SpectrogramCells(case)


def ours(case: Case, space: str, precision: Precision) -> Batched[Shift] | None:
    """Return passes in a precision, at the batch size that they find."""
    cells = cells_of(case, space)
    way = way_in(cells, precision)
    if way is None:
        return None
    start = Start.on(case.features.values.device, cells.positions)
    return batched_measure(way.measure(divergence, cells.clean), start)


def plain(case: Case, space: str, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Return the plain way in half precision: hidden cells [batch, *cells] to divergences [batch, token]."""
    model: Any = case.model
    network = copy.deepcopy(model.network).to(dtype)
    network.set_attn_implementation("sdpa")
    own: Any = replace(model, network=network)
    features, hypothesis = case.features, case.hypothesis
    encoded = own.encode(features.values[None])
    log_p = own.logits(encoded, hypothesis)[0].float().log_softmax(-1)
    neutral = features.valid.mean(0)

    def run(hidden: Tensor) -> Tensor:
        if space == "encoder":
            keep = torch.ones(len(hidden), encoded.shape[1], 1, dtype=dtype, device=hidden.device)
            keep[:, : features.frames, 0] = (~hidden).to(dtype)
            states = encoded * keep
        else:
            values = features.values.repeat(len(hidden), 1, 1)
            values[:, : features.melframes] = torch.where(hidden, neutral, features.valid)
            states = own.encode(values)
        log_q = own.logits(states, hypothesis).float().log_softmax(-1)
        return (log_p.exp() * (log_p - log_q)).sum(-1)

    return run


def plain_best(
    run: Callable[[Tensor], Tensor], hidden: Tensor, sizes: tuple[int, ...]
) -> tuple[int, float]:
    """Return the best batch size of the plain way and its seconds per mask."""
    found: list[tuple[float, int]] = []
    for size in (s for s in sizes if s <= len(hidden)):
        try:
            part = hidden[:size]
            found.append((seconds_of(partial(run, part), hidden.device) / size, size))
        except torch.OutOfMemoryError:
            break
    seconds, size = min(found)
    return size, seconds


def captum_seconds(case: Case, space: str, dtype: torch.dtype, batch: int) -> float:
    """Return seconds per forward pass of FeatureAblation over at most 64 segments."""
    from captum.attr import FeatureAblation

    run = plain(case, space, dtype)
    shape = cells_of(case, space).shape
    labels = torch.from_numpy(segments(_on_cpu(case), space).labels[0]).long()
    labels = (labels % 64).reshape(1, *shape).to(case.features.values.device)
    ablation = FeatureAblation(lambda on: run(on == 0))
    inputs = torch.ones(1, *shape, device=labels.device)
    passes = int(labels.max()) + 2
    whole = seconds_of(
        lambda: ablation.attribute(inputs, feature_mask=labels, perturbations_per_eval=batch),
        labels.device,
        1,
    )
    return whole / passes


def _on_cpu(case: Case) -> Case:
    return replace(case, features=replace(case.features, values=case.features.values.cpu()))


def whole_reference(case: Case, space: str, masks: int) -> tuple[float, dict[str, Any]]:
    """Return the seconds of a whole reference by the masked mean, and how it was computed."""
    name = f"spes-{space}"
    call = next(c for c in load_task("asr", "paper").references if c.name == name)
    given = {**call.given, "masks": masks, "precision": "auto"}
    make = registry.references.get(name).load()
    make(case, Sampling(), **{**given, "masks": min(masks, 64)})
    device = case.features.values.device
    wait(device)
    started = time.perf_counter()
    reference = make(case, Sampling(), **given)
    wait(device)
    return time.perf_counter() - started, dict(reference.facts().computation)


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Return operations per second of a product of two square matrices."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds_of(lambda: a @ b, device, 5)


def encoder_share(case: Case, precision: Precision, batch: int, rate: float) -> float | None:
    """Return the encoder's operations per second over a rate."""
    found = twin(case.model, precision.dtype)
    if found is None:
        return None
    model: Any = found.model
    values = case.features.values.repeat(batch, 1, 1).to(precision.dtype)
    with FlopCounterMode(display=False) as counter:
        model.encode(values[:1])
    each = counter.get_total_flops()
    with precision.products():
        seconds = seconds_of(lambda: model.encode(values), values.device)
    return float(batch * each / seconds / rate)


def agreement(case: Case, space: str, measure: Batched[Shift], masks: int) -> tuple[float, float]:
    """Return the lowest and the median token's correlation with the CPU in float32."""
    model: Any = case.model
    on_cpu = replace(
        _on_cpu(case), model=replace(model, network=copy.deepcopy(model.network).cpu())
    )
    hidden = random_cells(on_cpu, space, masks)
    exact = ours(on_cpu, space, FLOAT32)
    assert exact is not None
    reference = exact(hidden).value.double().numpy()
    found = measure(hidden.to(case.features.values.device)).value.double().cpu().numpy()
    rows = [np.corrcoef(reference[:, i], found[:, i])[0, 1] for i in case.hypothesis.content]
    return float(np.min(rows)), float(np.median(rows))


def measure_model(
    size: Size, case: Case, half: Precision, rate: float, compared: int
) -> list[Measured]:
    """Measure both spaces of one model."""
    device = case.features.values.device
    results = []
    for space in SPACES:
        found = Measured(size.name, space)
        hidden = random_cells(_on_cpu(case), space, size.round[space]).to(device)
        for precision in (FLOAT32, *(fast_precisions(device) or (half,))):
            name = f"ours {precision.name}" if precision != FLOAT32 else "float32, ours"
            measure = ours(case, space, precision)
            if measure is None:
                continue
            _forget_peak(device)
            measure(hidden)  # finds the batch size, compiles
            found.microseconds[name] = (
                1e6 * seconds_of(partial(measure, hidden), device) / len(hidden)
            )
            found.batch[name], found.memory_gb[name] = measure.size, _peak_gb(device)
            if compared:
                found.agreement[name] = agreement(case, space, measure, compared)
        run = plain(case, space, half.dtype)
        _forget_peak(device)
        found.batch["plain"], seconds = plain_best(run, hidden, PLAIN[space])
        found.microseconds["plain"] = 1e6 * seconds
        found.memory_gb["plain"] = _peak_gb(device)
        captum = captum_seconds(case, space, half.dtype, found.batch["plain"])
        found.microseconds["captum"] = 1e6 * captum
        if masks := size.whole[space]:
            found.whole_seconds, found.chosen = whole_reference(case, space, masks)
            found.whole_masks = masks
            name = str(found.chosen["precision"])
            own = found.microseconds.get(f"ours {name}", found.microseconds.get("float32, ours"))
            found.over_passes = found.whole_seconds / (masks * 1e-6 * own)
        if space == "input":
            precision = (fast_precisions(device) or (half,))[0]
            batch = found.batch.get(f"ours {precision.name}", 1)
            found.encoder_share = encoder_share(case, precision, batch, rate)
        print(render_row(found), flush=True)
        results.append(found)
    return results


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_gb(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0


def render_row(m: Measured) -> str:
    """Return one row of the table."""
    ratio = m.microseconds["plain"] / m.best
    target = TARGETS.get((m.model, m.space))
    times = "; ".join(f"{k} {v:,.0f} ({m.batch.get(k, 0)})" for k, v in m.microseconds.items())
    met = (
        "" if target is None else f" (target {target:g}: {'met' if ratio >= target else 'missed'})"
    )
    whole = (
        "-"
        if m.whole_seconds is None
        else (
            f"{m.whole_masks:,} masks in {m.whole_seconds:.1f} s, {m.over_passes:.2f} over passes, "
            f"{m.chosen.get('precision')} ({m.chosen.get('precision_reason')})"
        )
    )
    share = "-" if m.encoder_share is None else f"{m.encoder_share:.2f}"
    agree = "; ".join(f"{k} {a:.6f}, {b:.6f}" for k, (a, b) in m.agreement.items()) or "-"
    memory = "; ".join(f"{k} {v:.1f}" for k, v in m.memory_gb.items())
    return (
        f"| {m.model}, {SPACES[m.space]} | {times} | {ratio:.1f}{met} "
        f"| {m.microseconds['captum'] / m.best:.1f} | {whole} | {share} | {agree} | {memory} |"
    )


def render(found: list[Measured], device: str, rate: float, minutes: float) -> str:
    """Return the report as Markdown."""
    lines = [
        "# References on a GPU",
        "",
        f"Made by `python perf/gpu.py` on {device}, torch {torch.__version__}, in {minutes:.1f} minutes; its head says",
        f"what each column is. Half-precision products of 8,192-square matrices: {rate / 1e12:.0f} TFLOP/s.",
        "",
        "| model, reference | microseconds per mask (batch) | plain / ours | captum / ours | whole reference "
        "| encoder's share of the matmul rate | agreement with the CPU, lowest and median token | peak memory, GB |",
        "|---|---|---|---|---|---|---|---|",
        *(render_row(m) for m in found),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", help="folder of Whisper-base; default: its size, random weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--without-large", action="store_true")
    parser.add_argument("--small", action="store_true", help="a small model, only printed")
    arguments = parser.parse_args()
    if arguments.device == "cpu" and not arguments.small:
        sys.exit("there is no GPU here; --small tries the script with a small model on the CPU")
    device = torch.device(arguments.device)
    half = (fast_precisions(device) or tuple(device_of(device).fast))[0]
    started = time.perf_counter()
    rate = matmul_rate(device, half.dtype, 512 if arguments.small else 8192)
    sizes = [SMALL] if arguments.small else [BASE, LARGE][: 1 if arguments.without_large else 2]
    found: list[Measured] = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            given = arguments.base if size is BASE else None
            model = model_of(size, Path(folder), arguments.device, given)
            case = noise_case(model, size.seconds, size.tokens)
            # Agreement with random weights says nothing: divergences are near zero.
            compared = 64 if given or size is SMALL else 0
            found += measure_model(size, case, half, rate, compared)
            del model, case
    minutes = (time.perf_counter() - started) / 60
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
    text = render(found, name, rate, minutes)
    print(text)
    if not arguments.small:
        (HERE / "gpu.md").write_text(text)
        (HERE / "gpu.json").write_text(json.dumps([asdict(m) for m in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
