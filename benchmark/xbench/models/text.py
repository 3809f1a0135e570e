"""What models have in common on the side of text: languages, hypotheses, teacher forcing."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xbench.errors import UtteranceError
from xbench.models.protocol import Hypothesis

_WORD_START = "▁"  # how SentencePiece writes the space before a word
_NAMED = 8  # languages a message lists


def check_source(name: str, source: str, known: Collection[str]) -> None:
    """Raise UtteranceError `unsupported-language` when the model does not know the spoken language."""
    if source not in known:
        raise UtteranceError(
            "unsupported-language",
            f"model '{name}' does not know the language '{source}'; it knows {_listed(known)}"
            + _without_region(source, known),
        )


def check_target(name: str, source: str, target: str, known: Collection[str]) -> None:
    """Raise UtteranceError `unsupported-language` when the model does not translate one language into another."""
    if target not in known:
        why = (
            f"it translates '{source}' into {_listed(known)}"
            if known
            else f"it only transcribes '{source}'"
        )
        raise UtteranceError(
            "unsupported-language", f"model '{name}' cannot translate into '{target}'; {why}"
        )


def _without_region(language: str, known: Collection[str]) -> str:
    """Return ", did you mean 'en'?" for `en-US` where the model knows `en`."""
    plain = re.split("[-_]", language, maxsplit=1)[0].lower()
    return f", did you mean '{plain}'?" if plain != language and plain in known else ""


def _listed(known: Collection[str]) -> str:
    return ", ".join(sorted(known)[:_NAMED]) + (" ..." if len(known) > _NAMED else "")


def token_text(tokenizer: Any, token: int) -> str:
    """Return the written form of one token, with the space before a word where the piece has one."""
    piece = tokenizer.convert_ids_to_tokens(token)
    if isinstance(piece, str) and piece.startswith(_WORD_START):
        return piece.replace(_WORD_START, " ")
    text: str = tokenizer.decode([token])
    return text


def read_hypothesis(
    tokenizer: Any,
    prompt: tuple[int, ...],
    generated: Iterable[int],
    ends: Collection[int],
    is_content: Callable[[int], bool],
) -> Hypothesis:
    """Cut what was generated after end-of-text, and say what is written where."""
    tokens: tuple[int, ...] = ()
    for token in generated:
        tokens += (token,)
        if token in ends:
            break
    return Hypothesis(
        prompt=prompt,
        tokens=tokens,
        texts=tuple(token_text(tokenizer, token) for token in tokens),
        content=tuple(i for i, token in enumerate(tokens) if is_content(token)),
        text=tokenizer.decode(list(tokens), skip_special_tokens=True).strip(),
        truncated=not tokens or tokens[-1] not in ends,
    )


def decoder_input(hypothesis: Hypothesis, device: torch.device | str) -> Int[Tensor, " position"]:
    """Return prompt + tokens[:-1]: position prompt_length - 1 + i predicts tokens[i]."""
    return torch.tensor(hypothesis.prompt + hypothesis.tokens[:-1], device=device)


def predicting(
    states: Float[Tensor, "batch position dim"], hypothesis: Hypothesis
) -> Float[Tensor, "batch token dim"]:
    """Return the states of the positions that predict the tokens."""
    return states[:, len(hypothesis.prompt) - 1 :]
