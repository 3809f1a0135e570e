"""Whisper's rule for word times, written down once more, beside OpenAI's own code for it (which may be missing).

The rule differs from `dtw-path` in one thing: it standardises each frame over all positions, the prompt too, and
`dtw-path` over the content tokens. docs/methods/dtw-path.md says how far the two lie apart on real speech.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.methods.timing import cheapest_path, standardised

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


def each_token_a_word(tokens: list[int]) -> tuple[list[str], list[list[int]]]:
    """Split as the tokenizer of openai-whisper splits into words."""
    return [str(token) for token in tokens], [[token] for token in tokens]


def by_the_rule(case: Case, heads: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Return in which frame each content token begins by the published rule, written down once more.

    The trace must end with end of text as input: the rule standardises over that position too.
    """
    assert case.trace is not None
    attention = []
    for layer, head in heads:
        block = case.trace.stack("cross")[layer]
        scores = block.query[head].float() @ block.key[head, : case.layout.frames].float().T
        attention.append((block.scale * scores).softmax(-1))
    weights = standardised(torch.stack(attention).double().numpy())
    matrix = ndimage.median_filter(weights, size=(1, 1, 7), mode="mirror").mean(axis=0)
    rows = matrix[len(case.hypothesis.prompt) - 1 : -1]
    return cheapest_path(-rows)[list(case.layout.content)].argmax(axis=1)


@pytest.fixture(params=["theo", "jackson", "nicolas", "lucas"])
def timed(
    request: pytest.FixtureRequest,
    micro: Any,
    shared_folder: Path,
    case_of: Callable[..., Case],
) -> Case:
    """Digits whose times are known, heard by a trained model that publishes alignment heads."""
    audio = read_audio(shared_folder / "audio" / f"en-digits-{request.param}.flac", 16000)
    case = case_of(micro, audio)
    tokens, texts = case.hypothesis.tokens, case.hypothesis.texts
    # Nothing is predicted from the last token, so a trace ends before it: one more lets it be input.
    longer = replace(case.hypothesis, tokens=(*tokens, tokens[-1]), texts=(*texts, texts[-1]))
    return replace(case, trace=micro.trace(case.features, longer, {"cross-projections"}))


def test_the_published_rule_is_that_of_the_published_code(
    micro: Any, timed: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling takes longer than the search itself
    pytest.importorskip("whisper")
    from whisper.timing import find_alignment

    prompt, tokens = timed.hypothesis.prompt, timed.hypothesis.tokens
    tokenizer = SimpleNamespace(
        sot_sequence=prompt[:-1],
        no_timestamps=prompt[-1],
        eot=tokens[-1],
        split_to_word_tokens=each_token_a_word,
    )
    theirs = find_alignment(
        published(micro.network, micro.info.alignment_heads),
        tokenizer,
        [tokens[row] for row in timed.layout.content],
        timed.features.values.T.float(),
        timed.layout.melframes,
    )
    starts = np.array([word.start for word in theirs]) / 0.02
    ours = by_the_rule(timed, micro.info.alignment_heads)
    assert len(starts) == len(ours) > 0
    assert np.abs(ours - starts).max() <= 1
