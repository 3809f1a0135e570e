"""One captured teacher-forced forward pass, and the only place where attention is cropped.

Row i is the position that predicts token i. Prompt positions are dropped, padding frames are cropped
and each row is renormalised here and nowhere else; the mass that lay on padding is kept beside it.
Special tokens (end-of-text) stay as rows until scoring, which selects content rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.description import indices
from xbench.errors import Unsupported
from xbench.maps import Layout

# The stacks by which text attends to its source: cross-attention, or the only stack of a decoder-only model.
SOURCES = frozenset({"cross", "self"})

# The frames whose share of attention every trace states (`Trace.sinks`): sinks of Whisper are two or three.
SINK_FRAMES = 3


@dataclass(frozen=True)
class Norm:
    """The weights of a LayerNorm: weight * (x - mean x) / sqrt(var x + eps) + bias."""

    weight: Float[Tensor, " dim"]
    bias: Float[Tensor, " dim"]
    eps: float

    def __call__(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Normalise, in float32."""
        weight, bias = self.weight.float(), self.bias.float()
        return torch.nn.functional.layer_norm(states.float(), weight.shape, weight, bias, self.eps)

    def linear(self, parts: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Return weight * (x - mean x): what it does to the parts of a sum, up to 1 / deviation.

        The deviation is that of the whole sum, hence one factor for all parts of a position.
        """
        parts = parts.float()
        return self.weight.float() * (parts - parts.mean(-1, keepdim=True))


@dataclass(frozen=True)
class Stream:
    """The residual stream around a block that normalises its input (pre-LN): after = before + output.

    All three states were read during the pass, none is computed. next_norm reads `after`. rest
    takes `after` to `layer_output`, position by position and in float32 (the feed-forward block);
    it is None where another attention block follows. layer_norm reads `layer_output`.
    """

    before: Float[Tensor, "position dim"]
    after: Float[Tensor, "position dim"]
    layer_output: Float[Tensor, "position dim"]
    next_norm: Norm
    layer_norm: Norm
    rest: Callable[[Tensor], Tensor] | None


@dataclass(frozen=True)
class AttentionBlock:
    """The projections of one attention block, all positions, padding included.

    Its output is reproduced by softmax(scale * query key^T + bias + mask) value, heads concatenated,
    times output_weight^T plus output_bias. bias: relative positions and windows, where there are any.
    stream: what its output is added to, where the model is known to be pre-LN.
    """

    query: Float[Tensor, "head position channel"]
    key: Float[Tensor, "head source channel"]
    value: Float[Tensor, "head source channel"]
    output: Float[Tensor, "position dim"]
    output_weight: Float[Tensor, "dim headchannel"]
    output_bias: Float[Tensor, " dim"]
    scale: float
    causal: bool
    bias: Float[Tensor, "#head position source"] | None = None
    stream: Stream | None = None

    def attention(self, positions: slice = slice(None)) -> Float[Tensor, "head position source"]:
        """Return softmax(scale * query key^T + bias), causal where the block is, of these query positions."""
        query = self.query[:, positions]
        scores = self.scale * query.float() @ self.key.float().transpose(-1, -2)
        if self.bias is not None:
            scores = scores + self.bias[:, positions].float()
        if self.causal:
            above = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
            scores = scores.masked_fill(above.triu(1 + (positions.start or 0)), float("-inf"))
        return scores.softmax(-1)

    def pieces(self, size: int) -> Iterator[slice]:
        """Cut the query positions into pieces of `size`: work that stays in a processor's cache."""
        count = self.query.shape[1]
        return (slice(start, min(start + size, count)) for start in range(0, count, size))

    def transformed(self) -> Float[Tensor, "source head dim"]:
        """Return the value vector of each source and head after the output projection.

        The block's output at position i is the sum over sources j and heads h of
        attention[h, i, j] * transformed[j, h], plus output_bias.
        """
        heads = len(self.value)
        weight = self.output_weight.float().unflatten(1, (heads, -1))
        return torch.einsum("hsc,dhc->shd", self.value.float(), weight)


@dataclass(frozen=True)
class Trace:
    """A captured pass, ready for methods.

    The *source* is what text attends to: the encoder output (by cross-attention), or the audio positions of a
    decoder-only model (by self-attention). source_attention: attention to it, valid frames only, rows sum to one.
    padding_mass: share of each row that lay elsewhere before the crop: on padding or, in self-attention, on text.
    decoder_attention, encoder_attention: all positions (prompt and
    padding included), where asked for. blocks: projections per layer under "cross", "decoder",
    "encoder", where asked for; under "self" those of a decoder-only model.
    prompt_length: row i of a map is position prompt_length - 1 + i. first_column: where the source begins among the
    positions that are attended to; 0 but in a decoder-only model, whose audio has text before it.
    prompt_attention: attention to the source of the prompt positions that see all of it and predict no generated
    token, cropped like the others; None where the trace was made without it.
    """

    layout: Layout
    source_attention: Float[Tensor, "layer head token frame"]
    padding_mass: Float[Tensor, "layer head token"]
    prompt_length: int
    first_column: int = 0
    decoder_attention: Float[Tensor, "layer head position position"] | None = None
    encoder_attention: Float[Tensor, "encoderlayer encoderhead source source"] | None = None
    blocks: Mapping[str, tuple[AttentionBlock, ...]] = field(default_factory=dict)
    prompt_attention: Float[Tensor, "layer head prompt frame"] | None = None

    @property
    def cross_attention(self) -> Float[Tensor, "layer head token frame"]:
        """`source_attention`, by the name that plugins for encoder-decoders use."""
        return self.source_attention

    @property
    def audio_share(self) -> Float[Tensor, "layer head token"]:
        """The share of each row that lies on the source's valid frames: 1 - padding_mass."""
        return 1 - self.padding_mass

    def sinks(self, frames: int = SINK_FRAMES) -> Float[Tensor, "layer head"]:
        """Return the share of each head's attention that lies on its `frames` most attended frames.

        These frames are the same for all tokens of the head; shares are means over content tokens. A
        head that follows the audio gives few frames a large share of all tokens; a sink takes it.
        """
        content = list(self.layout.content) or list(range(len(self.layout.tokens)))
        shares = self.source_attention[:, :, content].mean(2)
        return shares.topk(min(frames, shares.shape[-1])).values.sum(-1)

    def stack(self, name: str, layers: str = "all") -> tuple[AttentionBlock, ...]:
        """Return the chosen blocks of one stack ("all", "upper-half", "0+2"), first layer first.

        Raises Unsupported where the model's trace has no such blocks or no such layer.
        """
        blocks = self.blocks.get(name, ())
        if not blocks:
            raise Unsupported(f"this model's trace holds no {name} projections")
        return tuple(blocks[index] for index in indices("layer", layers, len(blocks)))

    def source_stack(self, layers: str = "all") -> tuple[AttentionBlock, ...]:
        """Return the chosen blocks by which text attends to the source: cross-attention, or the only stack there is."""
        return self.stack("self" if "self" in self.blocks else "cross", layers)

    def stream(self, block: AttentionBlock) -> Stream:
        """Return the residual stream around a block; raise Unsupported where it is not known."""
        if block.stream is None:
            raise Unsupported("this model's trace does not hold the residual stream (pre-LN only)")
        return block.stream

    def crop(self, relevance: Float[Tensor, "position source"]) -> Float[Tensor, "token frame"]:
        """Bring a matrix over all positions and columns into the form of a map: `crop` for one head."""
        return self.crop_heads(relevance[None, None])[0, 0]

    def crop_heads(
        self, relevance: Float[Tensor, "layer head position source"]
    ) -> Float[Tensor, "layer head token frame"]:
        """Bring matrices over all positions and columns into the form of maps: `crop` without the mass."""
        return crop(relevance, self.prompt_length, self.layout, self.first_column)[0]


def crop(
    attention: Float[Tensor, "layer head position source"],
    prompt_length: int,
    layout: Layout,
    first_column: int = 0,
) -> tuple[Float[Tensor, "layer head token frame"], Float[Tensor, "layer head token"]]:
    """Keep the rows that predict generated tokens and the valid frames; renormalise rows.

    Returns the cropped attention and the mass it had elsewhere. A row with no mass at all on
    valid frames stays zero (and is then counted as constant by the metrics).
    """
    first = prompt_length - 1
    rows = attention[:, :, first : first + len(layout.tokens)]
    return _cropped(rows, slice(first_column, first_column + layout.frames))


def _cropped(
    rows: Float[Tensor, "layer head row source"], columns: slice
) -> tuple[Float[Tensor, "layer head row frame"], Float[Tensor, "layer head row"]]:
    valid = rows[..., columns]
    mass = valid.sum(-1, keepdim=True)
    cropped = torch.where(mass > 0, valid / mass.clamp_min(torch.finfo(mass.dtype).tiny), valid)
    return cropped, (1 - mass.squeeze(-1) / rows.sum(-1)).clamp(0, 1)


def build_trace(
    blocks: Mapping[str, tuple[AttentionBlock, ...]],
    layout: Layout,
    prompt_length: int,
    needs: frozenset[str] | set[str],
    audio: slice | None = None,
) -> Trace:
    """Make a trace out of captured blocks (those that attend to the source always, others as `needs` says).

    audio: the positions of the audio in the only stack of a decoder-only model, whose blocks are under "self"; None
    for an encoder-decoder, whose blocks to the source are under "cross".
    """
    source = "cross" if audio is None else "self"
    first = prompt_length - 1
    first_column, first_row = (0, 0) if audio is None else (audio.start, min(audio.stop, first))
    # In pieces of one layer: of a decoder-only model a layer's whole attention is far larger than what is kept of it.
    kept_rows, prompt_rows, masses = [], [], []
    columns = slice(first_column, first_column + layout.frames)
    for block in blocks[source]:
        rows = block.attention(slice(first_row, None))
        seen, token = rows[:, : first - first_row], rows[:, first - first_row :]
        cropped, mass = _cropped(token[None, :, : len(layout.tokens)], columns)
        kept_rows.append(cropped[0])
        masses.append(mass[0])
        prompt_rows.append(_cropped(seen[None], columns)[0][0])

    def attention(stack: str) -> Tensor | None:
        if f"{stack}-attention" not in needs:
            return None
        return torch.stack([block.attention() for block in blocks[stack]])

    wanted = {name for name in blocks if f"{name}-projections" in needs}
    if "source-projections" in needs:
        wanted.add(source)
    return Trace(
        layout=layout,
        source_attention=torch.stack(kept_rows),
        padding_mass=torch.stack(masses),
        prompt_length=prompt_length,
        first_column=first_column,
        decoder_attention=attention("decoder"),
        encoder_attention=attention("encoder"),
        blocks={name: stack for name, stack in blocks.items() if name in wanted},
        prompt_attention=torch.stack(prompt_rows),
    )
