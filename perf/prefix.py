"""What one mask costs a decoder-only model, against its language model over the positions that the mask can change.

    python perf/prefix.py                  writes perf/prefix.md and perf/prefix.json; 90 s of one core

The unit is what no way of hiding audio positions can save: the language model, without a cache, over the audio and all
text behind it, and the vocabulary for the positions that predict a token. Beside it stand the passes of `spes-audio`
with each neutral value; the same with the divergences that a reference makes of them; and the network's own forward
pass, which reads the text before the audio again for every mask and the vocabulary at every position.

CPU time on one thread, in ratios of medians of calls by turns, so a busy machine moves them little; float32, and
batches as large as a reference would take them, of the larger model 8 masks. That one has random weights: time does not
depend on them.

Last, what a whole reference takes: a clip of 10 s (packaged clips joined) and its masks to a reliability of 0.9.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.data.demo import demo_manifest
from xbench.data.manifest import read_manifest
from xbench.hiding.batching import Start, batched_measure
from xbench.hiding.cells import AudioPositions
from xbench.hiding.effect import divergence
from xbench.hiding.way import way_in
from xbench.models.device import precision_of
from xbench.models.loading import load_model
from xbench.models.protocol import Hypothesis
from xbench.references.audio import spes_audio
from xbench.references.estimation import Sampling
from xbench.references.reliability import row_reliability
from xbench.spec import Decoding, Selection

sys.path.insert(0, str(Path(__file__).parent))
from methods import medians

HERE = Path(__file__).parent
NEUTRAL = ("zero", "mean", "key-removed")
OWN, WHOLE = "language model", "own forward pass"
BOUND = 1.3
SECONDS = 10
# A larger language model, of which heads share keys and values as in real ones.
LARGE = {
    "vocab_size": 8_000,
    "hidden_size": 384,
    "intermediate_size": 1_536,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "layer_types": ["full_attention"] * 4,
}
MOST = 8  # masks in a batch of it; the ratios do not depend on them
BEFORE, AFTER, TOKENS = 24, 16, 30  # positions of text: before the audio, behind it, written


@dataclass(frozen=True)
class Costs:
    """What a batch of masks costs. seconds: CPU seconds by way; operations: counted, by way."""

    clip: str
    batch: int
    positions: int
    seconds: Mapping[str, float]
    operations: Mapping[str, int]

    def ratios(self, found: Mapping[str, float]) -> dict[str, float]:
        """Return every way as a multiple of the language model over what can change."""
        return {name: value / found[OWN] for name, value in found.items()}


def tiny() -> Any:
    """Return the packaged model."""
    return load_model("xbench-tiny-lm", device="cpu")


def joined(seconds: float, rate: int) -> np.ndarray:
    """Return English test clips joined until they are so long."""
    clips = read_manifest(demo_manifest("test"), selection=Selection()).utterances
    audio = np.concatenate([read_audio(u.audio, rate) for u in clips if u.language == "en"])
    return audio[: round(seconds * rate)]


def heard(model: Any, seconds: float) -> Case:
    """Return a clip with what the model writes for it."""
    features = model.features(joined(seconds, model.info.sampling_rate))
    return Case(model, features, model.decode(features, "en", None, Decoding()), "perf")


def large(model: Any) -> Case:
    """Return a clip of 10 s for a large language model with random weights, and a text that nobody wrote."""
    from transformers import Qwen2AudioForConditionalGeneration

    torch.manual_seed(0)
    config = type(model.network.config)(**model.network.config.to_dict())
    config.text_config = type(config.text_config)(**{**config.text_config.to_dict(), **LARGE})
    model = model.with_network(Qwen2AudioForConditionalGeneration(config).float().eval())
    features = model.features(joined(SECONDS, model.info.sampling_rate))
    positions = model.family.audio(model.loaded).frames(len(features.values))
    audio = model.family.audio_token(model.loaded)
    prompt = (*range(10, 10 + BEFORE), *[audio] * positions, *range(40, 40 + AFTER))
    tokens = tuple(range(100, 100 + TOKENS))
    texts, rows = tuple(map(str, tokens)), tuple(range(TOKENS))
    return Case(
        model, features, Hypothesis(prompt, tokens, texts, rows, "", truncated=True), "perf"
    )


def ways(case: Case, batch: int) -> dict[str, Callable[[], object]]:
    """Return each way to run a batch of masks."""
    model: Any = case.model
    network, hypothesis = model.network, case.hypothesis
    encoded = model.encode(case.features.values[None])
    changing = AudioPositions(case).positions - 1  # the last token predicts nothing
    read = len(hypothesis.tokens)
    states = encoded.new_zeros(batch, changing, encoded.shape[-1])
    ids = torch.tensor([hypothesis.prompt + hypothesis.tokens[:-1]]).expand(batch, -1)
    embedded = network.get_input_embeddings()(ids.clamp_max(network.lm_head.out_features - 1))
    generator = torch.Generator().manual_seed(0)
    hidden = torch.rand(batch, case.features.frames, generator=generator) < 0.7

    def own() -> object:
        last = network.model.language_model(inputs_embeds=states, use_cache=False).last_hidden_state
        return network.lm_head(last[:, -read:])

    def whole() -> object:
        last = network.model.language_model(inputs_embeds=embedded, use_cache=False)
        return network.lm_head(last.last_hidden_state).float()

    found: dict[str, Callable[[], object]] = {OWN: own, WHOLE: whole}
    for neutral in NEUTRAL:
        cells = AudioPositions(case, neutral)
        passes = cells.passes(model, torch.float32)
        way = way_in(cells, precision_of(torch.float32))
        measured = batched_measure(way.measure(divergence, cells.clean), Start(batch))
        found[neutral] = lambda passes=passes: passes(hidden)
        found[f"{neutral}, with divergences"] = lambda measured=measured: measured(hidden)
    return found


def costs(clip: str, case: Case, repeats: int, most: int = 64) -> Costs:
    """Measure every way on one clip, in batches of at most so many masks."""
    with torch.inference_mode():
        cells = AudioPositions(case)
        batch = min(most, Start.on(case.features.values.device, cells.positions).size)
        found = ways(case, batch)
        seconds = medians(found, repeats, time.process_time)
    with torch.no_grad():
        found = {name: run for name, run in ways(case, 2).items() if "divergences" not in name}
        operations = {name: counted(run) for name, run in found.items()}
    return Costs(clip, batch, cells.positions, seconds, operations)


def counted(run: Callable[[], object]) -> int:
    """Return the floating-point operations of matrix products and attention."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def reference(model: Any) -> dict[str, float]:
    """Estimate the reference of a clip of 10 s until its reliability is 0.9; return masks, reliability, CPU seconds."""
    started = time.process_time()
    case = heard(model, SECONDS)
    estimator = "window-control-variate"
    sampling = Sampling(seed=0)
    found = spes_audio(case, sampling, masks=4000, p=0.7, estimator=estimator, until=0.9)
    seconds = time.process_time() - started
    content = list(case.hypothesis.content)
    rows = row_reliability(*(half[content] for half in found.halves()))
    reached = statistics.mean(row for row in rows if row is not None)
    masks = float(sum(found.facts().masks))
    return {"masks": masks, "reliability": reached, "seconds": seconds}


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    model = tiny()
    rows = [
        costs("xbench-tiny-lm, 4 s", heard(model, 4), repeats),
        costs(f"xbench-tiny-lm, {SECONDS} s", heard(model, SECONDS), repeats),
        costs(f"4 layers of width 384, {SECONDS} s", large(model), repeats, MOST),
    ]
    whole = reference(model)
    page = _page(rows, whole)
    (HERE / "prefix.md").write_text(page, "utf-8")
    kept = {"bound": BOUND, "rows": [vars(row) for row in rows], "reference": whole}
    (HERE / "prefix.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    print(page)


def _page(rows: list[Costs], whole: Mapping[str, float]) -> str:
    names = list(rows[0].seconds)
    lines = [_HEAD, f"| | {' | '.join(row.clip for row in rows)} |", "|---" * (1 + len(rows)) + "|"]
    lines.append(f"| masks in a batch | {' | '.join(str(row.batch) for row in rows)} |")
    lines.append(f"| positions that change | {' | '.join(str(r.positions - 1) for r in rows)} |")
    unit = [f"{1e3 * row.seconds[OWN] / row.batch:.2f} ms" for row in rows]
    lines.append(f"| the unit: {OWN}, per mask | {' | '.join(unit)} |")
    for name in names[1:]:
        cells = [f"{row.ratios(row.seconds)[name]:.2f}" for row in rows]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name in names[1:]:
        if name in rows[0].operations:
            cells = [f"{row.ratios(row.operations)[name]:.2f}" for row in rows]
            lines.append(f"| operations: {name} | {' | '.join(cells)} |")
    most = max(row.ratios(row.seconds)[neutral] for row in rows for neutral in NEUTRAL)
    lines += [
        "",
        f"The dearest of the passes costs {most:.2f} times the language model; the bound is {BOUND}.",
        "",
        f"A clip of {SECONDS} s with xbench-tiny-lm reaches a reliability of {whole['reliability']:.2f} with "
        f"{whole['masks']:.0f} masks in {whole['seconds']:.0f} CPU seconds of one core, decoding included.",
    ]
    return "\n".join(lines) + "\n"


_HEAD = """# What a mask costs a decoder-only model

Made by `python perf/prefix.py`. The unit is what no way of hiding audio positions can save: the language model over
the audio and the text behind it, and the vocabulary for the positions that predict a token. CPU time on one thread,
float32, as multiples of the unit; `with divergences` is all that a reference does with a mask. The own forward pass
reads the text before the audio again for every mask, and the vocabulary at every position. Counted operations are
those of matrix products and attention.
"""


if __name__ == "__main__":
    main()
