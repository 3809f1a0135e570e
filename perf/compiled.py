"""Whether torch.compile pays for perturbed passes: encoders in bfloat16, as the twin runs them and compiled.

    python perf/compiled.py                  writes perf/compiled.md and perf/compiled.json
    python perf/compiled.py --device cuda    the same on a GPU

`eager` and `compiled` are the encoder that transformers makes, all of it in bfloat16, with SDPA: nothing stands in the
compiler's way, and it keeps less precision than the twin, whose residual streams and norms stay in float32. `graphs`
replays it as CUDA graphs, where there is a GPU. Compiling needs a C++ compiler; its time is not in the ratios.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from xbench.allocator import keep_freed_memory
from xbench.models.loading import load_model
from xbench.models.protocol import SpeechModel
from xbench.models.twin import twin

sys.path.insert(0, str(Path(__file__).parent))
from methods import medians, whisper_tiny_sized

HERE = Path(__file__).parent
# Model and masks per pass, as `references.batching` begins with them on a CPU.
SIZES = (("xbench-tiny", 20), ("Whisper-tiny size", 4))


def ways(model: SpeechModel, batch: int) -> dict[str, Callable[[], object]]:
    """Return passes over one batch of random features [batch, melframe, mel]."""
    found = twin(model, torch.bfloat16)
    assert found is not None
    network = copy.deepcopy(model.network).bfloat16()  # type: ignore[attr-defined]
    network.set_attn_implementation("sdpa")
    encoder, device = network.get_encoder(), next(network.parameters()).device
    values = torch.randn(batch, *_shape(network), device=device, dtype=torch.bfloat16)
    mels = values.transpose(1, 2).contiguous()

    def run(encode: Callable[[Tensor], object], inputs: Tensor = mels) -> Callable[[], object]:
        def once() -> object:
            output = encode(inputs)
            if device.type == "cuda":
                torch.cuda.synchronize()
            return output

        return once

    passes = {
        "ours": run(found.model.encode, values),
        "eager": run(encoder),
        "compiled": run(torch.compile(encoder, dynamic=False)),
    }
    if device.type == "cuda":
        passes["graphs"] = run(torch.compile(encoder, dynamic=False, mode="reduce-overhead"))
    return passes


def _shape(network: torch.nn.Module) -> tuple[int, int]:
    return 2 * network.config.max_source_positions, network.config.num_mel_bins


def measured(model: SpeechModel, batch: int, repeats: int) -> dict[str, float]:
    """Return milliseconds per mask of every way."""
    with torch.inference_mode():
        seconds = medians(ways(model, batch), repeats)
    return {way: 1e3 * s / batch for way, s in seconds.items()}


def render(device: str, report: dict[str, dict[str, float]]) -> str:
    """Return the report as Markdown."""
    ways_ = list(next(iter(report.values())))
    lines = [
        "# Does torch.compile pay?",
        "",
        f"Made by `python perf/compiled.py` on {device}: encoders in bfloat16, ms per mask, and how fast against ours.",
        "",
        f"| | {' | '.join(ways_)} |",
        "|---|" + "---|" * len(ways_),
    ]
    for name, row in report.items():
        cells = [f"{row[way]:.2f} ({row['ours'] / row[way]:.2f})" for way in ways_]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=25)
    arguments = parser.parse_args()
    keep_freed_memory()
    report = {}
    for name, batch in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            if name != "xbench-tiny":
                whisper_tiny_sized(path)
            source = "xbench-tiny" if name == "xbench-tiny" else f"whisper:{folder}"
            report[name] = measured(
                load_model(source, device=arguments.device), batch, arguments.repeats
            )
        print(name, report[name], flush=True)
    device = (
        torch.cuda.get_device_name()
        if arguments.device == "cuda"
        else f"{torch.get_num_threads()} CPU cores"
    )
    (HERE / "compiled.json").write_text(
        json.dumps({"device": device, "sizes": report}, indent=2) + "\n"
    )
    (HERE / "compiled.md").write_text(render(device, report))


if __name__ == "__main__":
    main()
