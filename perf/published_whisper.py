"""`dtw-path` beside OpenAI's own code for word times, on the clips with word times of the shared audio.

    python perf/published_whisper.py CHECKPOINT [LANGUAGE ...]     adds its part to perf/published_whisper.md and .json

CHECKPOINT is a folder with Whisper weights, LANGUAGE (all, where none is given) the languages of the clips. Needs
openai-whisper (`pip install openai-whisper`), which gets the same weights, spectrogram and text. Its `find_alignment`
says when each token begins and ends; on the path that `dtw-path` leaves these are the first frame of the token's row,
and the frame after its last. Tokens are compared rather than words: a word begins with one of them and ends with one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.methods.timing import dtw_path
from xbench.models.loading import load_model
from xbench.spec import Decoding

sys.path.insert(0, str(Path(__file__).parent))
from subjects import SHARED

HERE = Path(__file__).parent
FILE = HERE / "published_whisper.json"
RULES = {"dtw-path": None, "dtw-path:rows=all": "all"}

# From the names of weights in transformers to those in openai-whisper, in this order.
RENAMED = (
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    ("encoder_attn_layer_norm", "cross_attn_ln"),
    ("encoder_attn", "cross_attn"),
    ("self_attn_layer_norm", "attn_ln"),
    ("self_attn", "attn"),
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("out_proj", "out"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
    ("final_layer_norm", "mlp_ln"),
    (r"^encoder\.layer_norm", "encoder.ln_post"),
    (r"^decoder\.layer_norm", "decoder.ln"),
    (r"embed_tokens\.weight", "token_embedding.weight"),
    (r"embed_positions\.weight", "positional_embedding"),
)


def published(network: Any, heads: tuple[tuple[int, int], ...]) -> Any:
    """Return OpenAI's network with the weights of one of transformers."""
    # Read when whisper is imported: compiling its search for the path takes longer than the search itself.
    os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
    from whisper.model import ModelDimensions, Whisper

    config = network.config
    model = Whisper(
        ModelDimensions(
            n_mels=config.num_mel_bins,
            n_audio_ctx=config.max_source_positions,
            n_audio_state=config.d_model,
            n_audio_head=config.encoder_attention_heads,
            n_audio_layer=config.encoder_layers,
            n_vocab=config.vocab_size,
            n_text_ctx=config.max_target_positions,
            n_text_state=config.d_model,
            n_text_head=config.decoder_attention_heads,
            n_text_layer=config.decoder_layers,
        )
    ).eval()
    weights = {}
    for name, value in network.state_dict().items():
        for pattern, new in RENAMED:
            name = re.sub(pattern, new, name)
        weights[name] = value.float()
    weights.pop("proj_out.weight", None)  # the token embeddings again
    model.load_state_dict(weights)
    chosen = torch.zeros(config.decoder_layers, config.decoder_attention_heads, dtype=torch.bool)
    for layer, head in heads:
        chosen[layer, head] = True
    model.register_buffer("alignment_heads", chosen.to_sparse(), persistent=False)
    return model


def published_times(model: Any, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return in which frames each content token begins and ends by OpenAI's code, as two arrays [token]."""
    from whisper.timing import find_alignment

    prompt, tokens = case.hypothesis.prompt, case.hypothesis.tokens
    tokenizer = SimpleNamespace(
        sot_sequence=prompt[:-1],
        no_timestamps=prompt[-1],
        eot=tokens[-1],
        split_to_word_tokens=each_token_a_word,
    )
    found = find_alignment(
        model,
        tokenizer,
        [tokens[row] for row in case.layout.content],
        case.features.values.T.float(),
        case.layout.melframes,
    )
    frame = case.layout.stride * case.layout.melframe_seconds
    times = np.array([(token.start, token.end) for token in found]) / frame
    starts, ends = times.round().astype(int).T
    return starts, ends


def each_token_a_word(tokens: list[int]) -> tuple[list[str], list[list[int]]]:
    """Split as the tokenizer of openai-whisper splits into words."""
    return [str(token) for token in tokens], [[token] for token in tokens]


def path_times(path: np.ndarray, content: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return in which frames each content token begins and ends on a path [token, frame]."""
    rows = path[list(content)]
    return rows.argmax(1), rows.shape[1] - rows[:, ::-1].argmax(1)


def measure(checkpoint: Path, languages: list[str]) -> list[dict[str, Any]]:
    """Return one entry per clip: by rule how many frames each token begins and ends apart from the published code."""
    model = load_model(f"whisper:{checkpoint}", device="cpu")
    theirs = published(model.network, model.info.alignment_heads)
    manifest = (SHARED / "audio" / "manifest.jsonl").read_text("utf-8").splitlines()
    entries = []
    for clip in map(json.loads, manifest):
        if not clip.get("words") or (languages and clip["language"] not in languages):
            continue
        audio = read_audio(SHARED / "audio" / clip["audio"], model.info.sampling_rate)
        features = model.features(audio)
        hypothesis = model.decode(features, clip["language"], None, Decoding())
        case = Case(model, features, hypothesis, clip["id"])
        case = replace(case, trace=model.trace(features, hypothesis, {"cross-projections"}))
        known = published_times(theirs, case)
        entry = {"clip": clip["id"], "language": clip["language"], "tokens": len(known[0])}
        for name, rows in RULES.items():
            path = dtw_path(case, filter_width=7, rows=rows).numpy()
            apart = [
                np.abs(ours - own).tolist()
                for ours, own in zip(path_times(path, case.layout.content), known, strict=True)
            ]
            entry[name] = dict(zip(("starts", "ends"), apart, strict=True))
        print(clip["id"], {n: [max(v) for v in entry[n].values()] for n in RULES}, flush=True)
        entries.append(entry)
    return entries


def render(measured: dict[str, list[dict[str, Any]]]) -> str:
    """Return the report as Markdown."""
    lines = [
        "# `dtw-path` beside OpenAI's code for word times",
        "",
        "How many frames (20 ms) the tokens begin and end apart from where `find_alignment` of openai-whisper 20250625",
        "has them, with the same weights, spectrogram and text. Clips with word times of the shared audio.",
    ]
    for checkpoint, entries in measured.items():
        lines += [
            "",
            f"## {checkpoint}",
            "",
            f"Made by `python perf/published_whisper.py {checkpoint}`.",
            "",
            "| language | clips | tokens | method | begin in the same frame | at most one frame off | furthest "
            "| end at most one frame off | furthest |",
            "|" + "---|" * 9,
        ]
        for language in sorted({entry["language"] for entry in entries}):
            own = [entry for entry in entries if entry["language"] == language]
            for name in RULES:
                starts, ends = (
                    np.concatenate([entry[name][part] for entry in own])
                    for part in ("starts", "ends")
                )
                cells = [
                    *(language, str(len(own)), str(len(starts)), f"`{name}`"),
                    *(str(int((starts <= bound).sum())) for bound in (0, 1)),
                    *(str(starts.max()), str(int((ends <= 1).sum())), str(ends.max())),
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE")
    given = parser.parse_args()
    kept = json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {}
    found = measure(given.checkpoint, given.languages)
    before = {entry["clip"]: entry for entry in kept.get(given.checkpoint.name, [])}
    joined = before | {entry["clip"]: entry for entry in found}
    kept[given.checkpoint.name] = [joined[clip] for clip in sorted(joined)]
    text = render(kept)
    print(text)
    FILE.with_suffix(".md").write_text(text, "utf-8")
    FILE.write_text(json.dumps(kept) + "\n", "utf-8")


if __name__ == "__main__":
    main()
