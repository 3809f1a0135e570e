"""Beam search over one clip: all beams attend to the same frames, so these are projected and kept once.

transformers gives every beam keys and values of its own, and sorts the copies anew after each token. For Whisper's
1,500 frames that takes longer than the rest of the search.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from xbench.models.masked_attention import cross_cache
from xbench.models.private import cache_keyword


class _OneSource(EncoderDecoderCache):  # type: ignore[misc]  # transformers has no types
    """Keys and values of a source that is the same for every beam, beside what each beam has written."""

    def reorder_cache(self, beam_idx: Int[Tensor, " beam"]) -> None:
        """Sort what the beams have written; the source stays."""
        self.self_attention_cache.reorder_cache(beam_idx)


def shared_by_beams(decoder: Any, encoded: Float[Tensor, "1 frame dim"]) -> dict[str, _OneSource]:
    """Return the arguments with which a search over one clip takes keys and values that are made once."""
    source = DynamicCache()
    layers = [layer.encoder_attn for layer in decoder.layers]
    for number, (key, value) in enumerate(cross_cache(layers, encoded)):
        source.update(key, value, number)
    return {cache_keyword(decoder): _OneSource(DynamicCache(), source)}
