"""The Moonshine family: raw waveform, three convolutions (stride 384 samples), rotary positions.

Encoder frame j sees samples 384 j to 384 j + 895 and has the time of the first 384 of them. English
checkpoints and those of one other language look alike, so the spoken language is the user's word.

Sources: Jeffries et al. 2024 (arXiv 2410.15608) in the implementation of transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from xbench.models.capture import NormNames, Seen, Stack, feed_forward, pre_norms
from xbench.models.families.waveform import convolved, waveform_audio, waveform_inputs
from xbench.models.family import Family, Languages, start_token
from xbench.models.loading import Location
from xbench.models.private import moonshine_rotation
from xbench.models.seq2seq import Seq2SeqModel, load_family

_CONVOLUTIONS = ((127, 64), (7, 3), (3, 2))
_HOP = 384
_LONGEST = 30 * 16000  # training segments are 4 to 30 s long (section 3 of the paper)


def _rotated(
    module: Any, query: Tensor, key: Tensor, seen: Seen
) -> tuple[Tensor, Tensor, Tensor | None]:
    cos, sin = seen["position_embeddings"]
    query, key = moonshine_rotation(query[None], key[None], cos, sin)
    return query[0], key[0], None


def decoder_stacks(decoder: Any, config: Any) -> dict[str, Stack]:
    """Return the stacks of a Moonshine decoder: pre-LN, gated feed-forward blocks."""
    layers = list(decoder.layers)
    names = NormNames("input_layernorm", "final_layernorm", "post_attention_layernorm")
    around = pre_norms(layers, decoder.norm, names, _gated)
    heads = config.num_attention_heads
    return {
        "cross": Stack(
            [layer.encoder_attn for layer in layers],
            heads,
            output="o_proj",
            streams=around["cross"],
        ),
        "decoder": Stack(
            [layer.self_attn for layer in layers],
            heads,
            causal=True,
            output="o_proj",
            streams=around["own"],
            positions=_rotated,
        ),
    }


def _gated(layer: Any) -> Callable[[Tensor], Tensor]:
    mlp = layer.mlp

    def activation(hidden: Tensor) -> Tensor:
        passed, gate = hidden.chunk(2, dim=-1)
        gated: Tensor = mlp.activation_fn(gate) * passed
        return gated

    return feed_forward(layer.final_layernorm, mlp.fc1, mlp.fc2, activation)


def _stacks(network: Any) -> dict[str, Stack]:
    encoder = network.model.encoder
    layers = list(encoder.layers)

    def rest(layer: Any) -> Callable[[Tensor], Tensor]:
        norm: nn.Module = layer.post_attention_layernorm
        return feed_forward(norm, layer.mlp.fc1, layer.mlp.fc2, layer.mlp.activation_fn)

    names = NormNames("input_layernorm", "post_attention_layernorm")
    around = pre_norms(layers, encoder.layer_norm, names, rest)
    own = Stack(
        [layer.self_attn for layer in layers],
        network.config.encoder_num_attention_heads,
        output="o_proj",
        streams=around["own"],
        positions=_rotated,
    )
    return {**decoder_stacks(network.model.decoder, network.config), "encoder": own}


FAMILY = Family(
    name="moonshine",
    architecture="MoonshineForConditionalGeneration",
    processor="AutoProcessor",
    languages=lambda loaded: Languages(None),
    prompt=lambda loaded, source, target: (start_token(loaded.network),),
    audio=lambda loaded: waveform_audio(_HOP, convolved(_CONVOLUTIONS), _LONGEST),
    inputs=waveform_inputs,
    encode=lambda loaded, values: loaded.network.model.encoder(values.flatten(1)).last_hidden_state,
    decode=lambda network, ids, encoded: (
        network.model.decoder(
            input_ids=ids, encoder_hidden_states=encoded, use_cache=False
        ).last_hidden_state
    ),
    read_out=lambda network, states: network.proj_out(states),
    stacks=_stacks,
    positions=lambda network: network.config.max_position_embeddings,
    spectrogram=False,
    padding="its group norm averages over all frames of a batch row, padding included",
)


def load(location: Location, **options: Any) -> Seq2SeqModel:
    """Load a Moonshine checkpoint from a folder or the hub."""
    return load_family(FAMILY, location, **options)
