"""Tokenizers of letters with the special tokens that a family's prompt needs, and settings files beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def letters(folder: Path, special: Mapping[str, int], **named: str) -> int:
    """Save a tokenizer of letters after the special tokens; return the size of the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [*special, "▁", *LETTERS]
    tokenizer = Tokenizer(
        models.WordLevel({p: i for i, p in enumerate(pieces)}, unk_token=named["unk_token"])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Metaspace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens=[s for s in special if s not in named.values()],
        **named,
    )
    fast.save_pretrained(folder)
    return len(pieces)


def numbered(*special: str) -> dict[str, int]:
    """Return special tokens with the numbers they get."""
    return {token: number for number, token in enumerate(special)}


def sentencepiece_model(path: Path, kind: str) -> int:
    """Train a SentencePiece model of letters on two sentences; return its size."""
    import io

    import sentencepiece

    sentences = ["the quick brown fox jumps over the lazy dog", "pack my box with five dozen jugs"]
    model = io.BytesIO()
    size: dict[str, Any] = {"vocab_size": 40, "hard_vocab_limit": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences * 4),
        model_writer=model,
        model_type=kind,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
        **(size if kind == "unigram" else {}),
    )
    path.write_bytes(model.getvalue())
    return int(sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).get_piece_size())


def write_settings(folder: Path, name: str, **settings: Any) -> None:
    """Write a settings file (JSON)."""
    (folder / name).write_text(json.dumps(settings))


def add_settings(path: Path, **settings: Any) -> None:
    """Add keys to a settings file (JSON)."""
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
