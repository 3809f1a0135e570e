"""Gradients of every token's score with respect to attention weights, without putting weights in the graph.

An attention block computes context = A V per head, then its output projection. V does not depend on A
in the same block, so the gradient of a score f with respect to the weights is exact from small tensors:

    df/dA[p, j] = < df/dcontext[p], V[j] >

Hooks keep q, k, v (to rebuild A) and the context (to differentiate by); any attention kernel may run.
What was rebuilt must reproduce the context, else the model is refused.

Passes: one forward, and one backward per chunk of tokens (vector-Jacobian products batched over tokens).
Memory: contexts and values of all blocks, and per token 6 x heads x positions x sources floats of
transient gradients, chunked to 256 MiB or one token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from xbench.errors import Unsupported
from xbench.models.capture import Stack, captured_blocks
from xbench.models.optional import ShowsAttention, offers
from xbench.models.protocol import Features, Hypothesis, SpeechModel
from xbench.trace import AttentionBlock

_BUDGET = 256 * 2**20
_LIVE = 6  # tensors of the size of all weights of one block that are alive in its backward pass

# [batch, token, vocab] to the explained scores [batch, token]
ReadOut = Callable[[Float[Tensor, "batch token vocab"]], Float[Tensor, "batch token"]]


@dataclass(frozen=True)
class BlockGradient:
    """One attention block: its weights, its values, and gradients by its context for some tokens."""

    attention: Float[Tensor, "head position source"]
    value: Float[Tensor, "head source channel"]
    context: Float[Tensor, "token head position channel"]

    def weights(
        self, token: int, positions: slice = slice(None)
    ) -> Float[Tensor, "head position source"]:
        """Return df/dA for one of the tokens (counted within the chunk) at these positions, a new tensor."""
        return self.context[token, :, positions] @ self.value.transpose(1, 2)


def tokens_per_pass(model: SpeechModel, positions: int, sources: int) -> int:
    """Return how many tokens' gradients one backward pass may carry within the memory bound."""
    per_token = 4 * _LIVE * model.info.heads * positions * sources
    return max(1, _BUDGET // per_token)


def vector_jacobian_products(
    scores: Float[Tensor, "1 token"], inputs: Sequence[Tensor], per_pass: int
) -> Iterator[tuple[slice, tuple[Tensor, ...]]]:
    """Differentiate each token's score by every input: yields (tokens, gradients [token, *input]).

    Passes of one token are plain backward passes, which every kernel has.
    """
    count = scores.shape[1]
    batched = per_pass > 1
    for first in range(0, count, per_pass):
        tokens = slice(first, min(first + per_pass, count))
        directions = torch.eye(count, dtype=scores.dtype, device=scores.device)[tokens, None]
        gradients = torch.autograd.grad(
            scores,
            list(inputs),
            directions if batched else directions[0],
            is_grads_batched=batched,
            retain_graph=tokens.stop < count,
            # A score that does not depend on the input at all has gradient zero.
            allow_unused=True,
            materialize_grads=True,
        )
        yield tokens, gradients if batched else tuple(g[None] for g in gradients)


@contextmanager
def differentiable_attention(*, fused: bool = False) -> Iterator[None]:
    """Run attention as plain matrix products, whose backward passes can be batched over tokens.

    fused: where there is one, by the kernel that never holds all weights, whose backward passes take one
    token each; on a CPU and 1,500 frames one takes half as long.
    """
    kernels = [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH] if fused else [SDPBackend.MATH]
    with torch.enable_grad(), sdpa_kernel(kernels):
        yield


def attention_gradients(
    model: SpeechModel,
    features: Features,
    hypothesis: Hypothesis,
    read_out: ReadOut,
    *,
    whole_network: bool,
) -> Iterator[tuple[slice, Mapping[str, tuple[BlockGradient, ...]]]]:
    """Yield, chunk by chunk of tokens, the blocks under "cross" with their gradients.

    With `whole_network` also "decoder" and "encoder"; without it, no gradient enters the encoder. Of a decoder-only
    model yield those under "self" alone, and let no gradient enter the audio encoder.
    Raises Unsupported for a model whose attention cannot be reached or rebuilt.
    """
    stacks = _stacks(model, whole_network=whole_network)
    whole_network = whole_network and "self" not in stacks
    positions = len(hypothesis.tokens) + len(hypothesis.prompt)
    sources = positions if "self" in stacks else _sources(features)
    per_pass = tokens_per_pass(model, sources if whole_network else positions, sources)
    fused = per_pass == 1 and features.values.device.type == "cpu"
    contexts: dict[str, list[Tensor | None]] = {
        name: [None] * len(stack.modules) for name, stack in stacks.items()
    }
    handles = [
        getattr(module, stack.output).register_forward_pre_hook(
            partial(_keep_context, contexts[name], index)
        )
        for name, stack in stacks.items()
        for index, module in enumerate(stack.modules)
    ]
    try:
        with captured_blocks(stacks) as readers, differentiable_attention(fused=fused):
            with nullcontext() if whole_network else torch.no_grad():
                encoded = model.encode(features.values[None])
            scores = read_out(model.logits(encoded, hypothesis))
            blocks = {name: [read() for read in reads] for name, reads in readers.items()}
    except (AttributeError, KeyError) as problem:
        raise Unsupported(
            f"its attention projections cannot be read ({type(problem).__name__}: {problem})"
        ) from None
    finally:
        for handle in handles:
            handle.remove()

    captured = {
        name: [_rebuilt(b, c) for b, c in zip(blocks[name], contexts[name], strict=True)]
        for name in stacks
    }
    flat = [c for name in stacks for c in contexts[name] if c is not None]
    for tokens, gradients in vector_jacobian_products(scores, flat, per_pass):
        left = iter(gradients)
        yield (
            tokens,
            {
                name: tuple(BlockGradient(a, v, _heads(next(left), len(a))) for a, v in pairs)
                for name, pairs in captured.items()
            },
        )


def _sources(features: Features) -> int:
    """Return how many frames the encoder puts out for these features, padding included."""
    return math.ceil(len(features.values) / features.stride)


def _stacks(model: SpeechModel, *, whole_network: bool) -> dict[str, Stack]:
    if not offers(model, ShowsAttention):
        raise Unsupported(
            f"the attention modules of family '{model.info.family}' cannot be reached"
        )
    stacks = model.attention_stacks()
    wanted = ("cross", "decoder", "encoder") if whole_network else ("cross",)
    if "self" in stacks:
        return {"self": stacks["self"]}
    for name in wanted:
        if name not in stacks:
            raise Unsupported(model.info.lacking[f"{name}-attention"])
    return {name: stacks[name] for name in wanted}


def _keep_context(
    kept: list[Tensor | None], index: int, module: nn.Module, inputs: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    context = inputs[0]
    if torch.is_grad_enabled() and not context.requires_grad:
        # Nothing before it needs gradients: differentiation starts here.
        context = context.detach().requires_grad_()
    kept[index] = context
    return (context, *inputs[1:])


@torch.no_grad()
def _rebuilt(
    block: AttentionBlock, context: Tensor | None
) -> tuple[Float[Tensor, "head position source"], Float[Tensor, "head source channel"]]:
    """Return weights and values, after checking that they give the context the model computed."""
    attention, value = block.attention().detach(), block.value.detach().float()
    if context is None:
        raise Unsupported("one of its attention blocks did not run in a plain forward pass")
    found = (attention @ value).transpose(0, 1).flatten(1)
    expected = context.detach()[0].float()
    tolerance = 1e-3 if context.dtype == torch.float32 else 5e-2
    if found.shape != expected.shape or (found - expected).abs().max() > tolerance * (
        expected.abs().max()
    ):
        raise Unsupported("its attention weights do not follow from its projections alone")
    return attention, value


def _heads(
    gradient: Float[Tensor, "token 1 position dim"], heads: int
) -> Float[Tensor, "token head position channel"]:
    return gradient[:, 0].float().unflatten(-1, (heads, -1)).transpose(1, 2)
