"""Self-attention with relative positions of the Fast Conformer (Canary, Cohere ASR), and their decoder.

    scores = scale (q_i + u) . k_j + scale (q_i + v) . r_(i - j)        u, v: learned; r: projected sinusoids

Source: Dai et al. 2019 (arXiv 1901.02860), section 3.3, in the implementation of transformers (Parakeet encoder).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from xbench.models.capture import NormNames, Seen, Stack, feed_forward, pre_norms
from xbench.models.family import Loaded, valid_mask
from xbench.models.private import relative_shift


def _relative(
    module: Any, query: Tensor, key: Tensor, seen: Seen
) -> tuple[Tensor, Tensor, Tensor | None]:
    relative = seen["relative_k_proj"].unflatten(-1, (-1, module.head_dim)).transpose(0, 1)
    by_distance = (query + module.bias_v[:, None]) @ relative.transpose(1, 2)
    bias = module.scaling * relative_shift(module, by_distance[None])[0, ..., : key.shape[1]]
    return query + module.bias_u[:, None], key, bias


def stacks(network: Any) -> dict[str, Stack]:
    """Return all attention of a Fast Conformer encoder and a pre-LN decoder."""
    encoder, decoder = network.model.encoder, network.model.decoder
    layers, config = list(decoder.layers), decoder.config

    def rest(layer: Any) -> Callable[[Tensor], Tensor]:
        mlp = layer.mlp
        return feed_forward(layer.final_layernorm, mlp.fc1, mlp.fc2, mlp.activation_fn)

    names = NormNames("input_layernorm", "final_layernorm", "post_attention_layernorm")
    around = pre_norms(layers, decoder.norm, names, rest)
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
        ),
        "encoder": Stack(
            [layer.self_attn for layer in encoder.layers],
            encoder.config.num_attention_heads,
            output="o_proj",
            positions=_relative,
            also=("relative_k_proj",),
        ),
    }


def frames(config: Any) -> Callable[[int], int]:
    """Return the function from mel frames to encoder frames: strided convolutions, padding (kernel - 1) / 2."""
    kernel, stride = config.subsampling_conv_kernel_size, config.subsampling_conv_stride

    def count(melframes: int) -> int:
        for _ in range(config.subsampling_factor.bit_length() - 1):
            melframes = max(0, (melframes + 2 * ((kernel - 1) // 2) - kernel) // stride + 1)
        return melframes

    return count


def inputs(
    loaded: Loaded, values: Float[Tensor, "batch melframe mel"], lengths: Int[Tensor, " batch"]
) -> dict[str, Any]:
    """Return padded spectrograms and their mask."""
    return {"input_features": values, "attention_mask": valid_mask(lengths, values.shape[1]).bool()}


def encode(
    loaded: Loaded, values: Float[Tensor, "batch melframe mel"]
) -> Float[Tensor, "batch frame dim"]:
    """Run the encoder on spectrograms without padding."""
    states: Tensor = loaded.network.model.encoder(values).last_hidden_state
    return states


def decode(
    network: Any, ids: Int[Tensor, "batch position"], encoded: Float[Tensor, "batch frame dim"]
) -> Float[Tensor, "batch position width"]:
    """Run the decoder."""
    states: Tensor = network.model.decoder(
        input_ids=ids, encoder_hidden_states=encoded, use_cache=False
    ).last_hidden_state
    return states


def melframes(loaded: Loaded, audio: Any) -> Float[Tensor, "melframe mel"]:
    """Return the normalised log-mel spectrogram without the frame that the extractor adds and masks."""
    found = loaded.extractor(
        audio, sampling_rate=loaded.extractor.sampling_rate, return_tensors="pt"
    )
    valid: Tensor = found.input_features[0][found.attention_mask[0].bool()]
    return valid
