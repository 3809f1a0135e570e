"""What explanation methods cost, as ratios measured interleaved in one process.

    python perf/methods.py                 writes perf/methods.md and perf/methods.json

1. each attention-family method against the plain traced forward pass that it shares (Whisper-tiny size
   with random weights and a 25 s clip, and xbench-tiny);
2. a sweep over all layers and heads against one head;
3. input gradients of all tokens in shared passes against one backward pass per token;
4. peak memory of the composed methods on 1,500 encoder frames, each in a process of its own.

Times are medians of interleaved repeats; the machine may be shared, so read the ratios.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xbench import registry
from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.data.demo import demo_manifest
from xbench.errors import Unsupported
from xbench.methods.compute import compute_map
from xbench.models.loading import load_model
from xbench.models.protocol import Hypothesis
from xbench.spec import Call, Decoding

HERE = Path(__file__).parent
ATTENTION = (
    *("mean-heads", "max-heads", "median-heads", "product-heads", "entropy-weighted"),
    *("variance-weighted", "encoder-rollout", "full-rollout", "value-norm", "value-norm-resln"),
    *("globenc", "alti", "alti-plus", "value-zeroing", "attention-flow"),
)
HEAVY = ("encoder-rollout", "globenc", "alti", "alti-plus", "value-zeroing")
TOKENS = 25


def whisper_tiny_sized(folder: Path) -> Any:
    """Make a Whisper-tiny-sized model with random weights (timing does not depend on weights)."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor

    source = Path(registry.__file__).parent / "demo" / "model"
    processor = WhisperProcessor.from_pretrained(source)
    processor.feature_extractor.chunk_length = 30
    processor.feature_extractor.n_samples = 480_000
    processor.feature_extractor.nb_max_frames = 3_000
    small = json.loads((source / "config.json").read_text())
    config = WhisperConfig(
        **{
            **small,
            **{"d_model": 384, "encoder_layers": 4, "decoder_layers": 4},
            **{"encoder_attention_heads": 6, "decoder_attention_heads": 6},
            **{"encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536},
            **{"max_source_positions": 1500, "max_target_positions": 448, "vocab_size": 51_865},
        }
    )
    torch.manual_seed(0)
    network = WhisperForConditionalGeneration(config)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "generation_config.json").write_text((source / "generation_config.json").read_text())
    return load_model(f"whisper:{folder}", device="cpu")


def large_case(model: Any) -> Case:
    """A 25 s clip of noise with 25 tokens, which nobody decoded."""
    audio = np.random.default_rng(0).normal(0, 0.1, 25 * 16_000).astype(np.float32)
    tokens = tuple(range(10, 10 + TOKENS))
    prompt = (641, 642, 647, 651)
    texts = tuple(map(str, tokens))
    hypothesis = Hypothesis(prompt, tokens, texts, tuple(range(TOKENS)), "", truncated=True)
    return Case(model, model.features(audio), hypothesis, "perf")


def tiny_case() -> Case:
    """A packaged German clip with its real hypothesis."""
    model = load_model("xbench-tiny", device="cpu")
    features = model.features(
        read_audio(demo_manifest("test").parent / "audio" / "de-0001.flac", 16_000)
    )
    return Case(model, features, model.decode(features, "de", None, Decoding()), "perf")


def medians(
    actions: Mapping[str, Callable[[], object]],
    repeats: int,
    now: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Run every action once to warm up, then all in turn; return the median seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(repeats):
        for name, action in actions.items():
            started = now()
            action()
            seconds[name].append(now() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def explained(case: Case, name: str) -> Callable[[], object]:
    """Return one trace and map of a method, as the runner makes them."""
    description, call = registry.methods.resolve(Call.parse(name))
    needs = description.needs - {"words", "partner"}

    def run() -> object:
        trace = case.model.trace(case.features, case.hypothesis, needs)
        traced = Case(case.model, case.features, case.hypothesis, case.key, trace)
        return compute_map(description, call, traced)

    return run


def against_trace(case: Case, repeats: int) -> dict[str, float]:
    """Return seconds of trace + method over seconds of the plain trace."""

    def plain() -> object:
        return case.model.trace(case.features, case.hypothesis, frozenset())

    ratios = {}
    for name in ATTENTION:
        try:
            found = medians({"plain": plain, name: explained(case, name)}, repeats)
        except Unsupported as reason:
            print(f"{name}: {reason}")
            continue
        ratios[name] = found[name] / found["plain"]
    return ratios


def sweep(case: Case, repeats: int) -> float:
    """Return seconds of every layer and head from one trace over seconds of one head."""
    layers, heads = case.model.info.decoder_layers, case.model.info.heads
    description = registry.methods.get("raw-attention")

    def maps(pairs: list[tuple[int, int]]) -> Callable[[], object]:
        def run() -> object:
            trace = case.model.trace(case.features, case.hypothesis, frozenset())
            traced = Case(case.model, case.features, case.hypothesis, case.key, trace)
            calls = [Call.make("raw-attention", {"layer": a, "head": b}) for a, b in pairs]
            return [compute_map(description, call, traced) for call in calls]

        return run

    every = [(a, b) for a in range(layers) for b in range(heads)]
    found = medians({"one": maps([(0, 0)]), "all": maps(every)}, repeats)
    return found["all"] / found["one"]


def separate_gradients(case: Case) -> Callable[[], object]:
    """Return the plain way: a full forward and backward pass for each token."""

    def run() -> object:
        gradients = []
        with torch.enable_grad():
            for row, token in enumerate(case.hypothesis.tokens):
                values = case.features.values[None].clone().requires_grad_()
                logits = case.model.logits(case.model.encode(values), case.hypothesis)
                score = logits[0, row].log_softmax(-1)[token]
                gradients.append(torch.autograd.grad(score, values)[0])
        return gradients

    return run


def gradients(case: Case, repeats: int) -> float:
    """Return seconds of one pass pair per token over seconds of `saliency`."""
    found = medians(
        {"separate": separate_gradients(case), "ours": explained(case, "saliency")}, repeats
    )
    return found["separate"] / found["ours"]


def _memory(name: str, folder: str, queue: Any) -> None:
    case = large_case(load_model(f"whisper:{folder}", device="cpu"))
    case.model.trace(case.features, case.hypothesis, frozenset())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    explained(case, name)()
    queue.put((before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def peak_memory(name: str, folder: Path) -> float:
    """Return the peak memory of the process in GB, model and libraries included."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_memory, args=(name, str(folder), queue))
    process.start()
    _, after = queue.get()
    process.join()
    return float(after) * 1024 / 1e9


def main() -> None:
    """Measure everything and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        large, tiny = large_case(whisper_tiny_sized(Path(folder))), tiny_case()
        report = {
            "trace_ratio": {
                "xbench-tiny": against_trace(tiny, repeats),
                "whisper-tiny size, 25 s": against_trace(large, repeats),
            },
            "sweep_ratio": {
                "xbench-tiny": sweep(tiny, repeats),
                "whisper-tiny size, 25 s": sweep(large, repeats),
            },
            "gradient_speedup": {
                "xbench-tiny": gradients(tiny, repeats),
                "whisper-tiny size, 25 s": gradients(large, 1),
            },
            "peak_memory_gb": {name: peak_memory(name, Path(folder)) for name in HEAVY},
        }
    (HERE / "methods.json").write_text(json.dumps(report, indent=1) + "\n")
    text = render(report)
    (HERE / "methods.md").write_text(text)
    print(text)


def render(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    sizes = list(report["trace_ratio"])
    lines = [
        "# Cost of the methods",
        "",
        "Made by `python perf/methods.py`: medians of interleaved repeats on CPU; ratios, not seconds.",
        "",
        "Trace and map over the plain traced forward pass:",
        "",
        f"| method | {' | '.join(sizes)} |",
        f"|---|{'---|' * len(sizes)}",
    ]
    for name in ATTENTION:
        cells = [report["trace_ratio"][size].get(name) for size in sizes]
        lines.append(
            f"| `{name}` | {' | '.join('-' if c is None else f'{c:.2f}' for c in cells)} |"
        )
    lines += ["", "| measure | " + " | ".join(sizes) + " |", "|---|" + "---|" * len(sizes)]
    for key, label in (
        ("sweep_ratio", "all layers and heads over one head"),
        ("gradient_speedup", "one pass per token over `saliency`"),
    ):
        lines.append(f"| {label} | " + " | ".join(f"{report[key][s]:.2f}" for s in sizes) + " |")
    lines += [
        "",
        "Peak memory of the process on 1,500 encoder frames (model and libraries included):",
        "",
    ]
    lines += ["| method | GB |", "|---|---|"]
    lines += [f"| `{name}` | {value:.2f} |" for name, value in report["peak_memory_gb"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
