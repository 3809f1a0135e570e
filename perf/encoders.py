"""Ways to run an encoder in bfloat16: the twin's choices against others, torch.compile among them.

    python perf/encoders.py                  writes perf/encoders.md and perf/encoders.json
    python perf/encoders.py --device cuda    the same on a GPU (never run: none was there)

`linear` is the twin without linear layers as convolutions. `eager` and `compiled` are the encoder that transformers
makes, all of it in bfloat16, with SDPA: nothing stands in the compiler's way, and it keeps less precision than the
twin, whose residual streams and norms stay in float32. `graphs` replays it as CUDA graphs, where there is a GPU.
Compiling needs a C++ compiler; its time is not in the ratios.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from xbench.hiding import twin as twins
from xbench.models.allocator import keep_freed_memory
from xbench.models.loading import load_model
from xbench.models.protocol import SpeechModel

sys.path.insert(0, str(Path(__file__).parent))
from methods import medians, whisper_tiny_sized

HERE = Path(__file__).parent
# Model and masks per pass, as `hiding.batching` begins with them on a CPU.
SIZES = (("xbench-tiny", 20), ("Whisper-tiny size", 4))


def ways(model: SpeechModel, batch: int) -> dict[str, Callable[[], object]]:
    """Return passes over one batch of random features [batch, melframe, mel]."""
    ours = twins.twin(model, torch.bfloat16)
    with patch.object(twins, "_as_convolution", lambda module: None):
        # A copy of the network is another network, so this twin is not the one above.
        copied = model.with_network(copy.copy(model.network))  # type: ignore[attr-defined]
        linear = twins.twin(copied, torch.bfloat16)
    assert ours is not None
    assert linear is not None
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
        "ours": run(ours.model.encode, values),
        "linear": run(linear.model.encode, values),
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
        "# Ways to run an encoder",
        "",
        f"Made by `python perf/encoders.py` on {device}: bfloat16, ms per mask, and how fast against ours.",
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
            source = name
            if name != "xbench-tiny":
                whisper_tiny_sized(Path(folder))
                source = f"whisper:{folder}"
            model = load_model(source, device=arguments.device)
            report[name] = measured(model, batch, arguments.repeats)
        print(name, report[name], flush=True)
    device = (
        torch.cuda.get_device_name()
        if arguments.device == "cuda"
        else f"{torch.get_num_threads()} CPU cores"
    )
    (HERE / "encoders.json").write_text(
        json.dumps({"device": device, "sizes": report}, indent=2) + "\n"
    )
    (HERE / "encoders.md").write_text(render(device, report))


if __name__ == "__main__":
    main()
