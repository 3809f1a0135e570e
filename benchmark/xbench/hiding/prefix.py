"""Hide tokens of the text so far, and measure how far the model leans on that text and on the audio.

The decoder predicts token i from the audio and from the tokens before it. A hidden token's embedding is the zero
vector, before its position is added, as SPES hides tokens; so the decoder still sees that there was one. The prompt
(language, task) stays.

    text    KL( p_i || p_i with all tokens before i hidden )
    audio   KL( p_i || p_i with all valid encoder frames zeroed )
    share   audio / (audio + text)

A share of 1 says that the text before the token does not matter, 0 that the audio does not. Both effects are small
where either source is enough by itself: then the share says little, and the sum of the two says so.

Source: the previous-token map of SPES, Fucci et al. 2024, arXiv 2411.01710. The share is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xbench.case import Case
from xbench.errors import Unsupported, UtteranceError
from xbench.hiding.batching import Batched, Start, batched_measure
from xbench.hiding.cells import EncoderFrames
from xbench.hiding.effect import Shift, divergence, from_logits
from xbench.models.optional import ShowsNetwork, offers

Hidden = Bool[Tensor, "batch previous"]


@dataclass(frozen=True, eq=False)
class PreviousTokens:
    """The tokens of a hypothesis as cells: all but the last, which no other token follows.

    Raises UtteranceError `too-few-tokens` where there is no such token, and Unsupported where the model does not show
    its network.
    """

    case: Case

    def __post_init__(self) -> None:
        """Refuse what has no tokens to hide."""
        if self.cells < 1:
            raise UtteranceError("too-few-tokens", "no token of the hypothesis follows another one")
        if not offers(self.case.model, ShowsNetwork):
            raise Unsupported(
                f"model '{self.case.model.info.name}' does not show its network, so no embedding can be hidden"
            )

    @property
    def cells(self) -> int:
        """How many tokens can be hidden."""
        return len(self.case.hypothesis.tokens) - 1

    def measure(self, batch_size: int | None = None) -> Batched[Shift]:
        """Return the function from hidden tokens [batch, previous] to the divergence of every token."""
        frames = EncoderFrames(self.case)
        encoded = frames.encoded(torch.zeros(1, *frames.shape, dtype=torch.bool))

        def perturbed(hidden: Hidden) -> Float[Tensor, "batch token vocab"]:
            whole = encoded.expand(len(hidden), -1, -1)
            with self._hidden(hidden):
                return self.case.model.logits(whole, self.case.hypothesis)

        start = Start(batch_size) if batch_size else Start.on(encoded.device, frames.positions)
        return batched_measure(from_logits(divergence, frames.clean, perturbed), start)

    @contextmanager
    def _hidden(self, hidden: Hidden) -> Iterator[None]:
        """Zero the embeddings of hidden tokens while the model runs."""
        prompt = hidden.new_ones(len(hidden), len(self.case.hypothesis.prompt))
        keep = torch.cat([prompt, ~hidden], 1)[..., None]
        handle = self._embeddings().register_forward_hook(lambda _, __, found: found * keep)
        try:
            yield
        finally:
            handle.remove()

    def _embeddings(self) -> nn.Module:
        assert offers(self.case.model, ShowsNetwork)
        embeddings: nn.Module = self.case.model.network.get_decoder().get_input_embeddings()
        return embeddings


@dataclass(frozen=True)
class Leaning:
    """What each token loses without the audio, and without the text before it, in nats."""

    audio: Float[Tensor, " token"]
    text: Float[Tensor, " token"]


@torch.inference_mode()
def leaning(case: Case) -> Leaning:
    """Measure what each token loses without the audio and without the text; raises as `PreviousTokens`."""
    previous, frames = PreviousTokens(case), EncoderFrames(case)
    device = frames.values.device
    everything = torch.ones(1, previous.cells, dtype=torch.bool, device=device)
    text = previous.measure(1)(everything).value[0]
    silent = case.model.logits(
        frames.encoded(torch.ones(1, *frames.shape, dtype=torch.bool, device=device)),
        case.hypothesis,
    )
    audio = from_logits(divergence, frames.clean, lambda _: silent)(everything).value[0]
    return Leaning(audio.double().cpu(), text.double().cpu())
