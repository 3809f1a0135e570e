"""OpenAI's two Whisper tokenizers out of the package, for files that come without one; no network.

The English-only vocabulary is that of GPT-2 (50,256 tokens of text), the multilingual one has one more. Both consist
of 256 bytes and of pairs of earlier tokens, so a file of the package holds the pairs: for each token above 255 the
numbers of its two halves (uint16, all first halves, then all second ones), compressed. A half of itself is the empty
text. `scripts/whisper_vocabulary.py` writes the files.
"""

from __future__ import annotations

import lzma
from importlib.resources import files
from typing import Any

import numpy as np

from xbench.models.families.whisper_tokens import END, ENGLISH_END, NO_TIMES, START

# Languages in the order of their ids (whisper/tokenizer.py); English-only vocabularies hold the first 99 too.
_CODES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml "
    "cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am "
    "yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue"
)
LANGUAGES = _CODES.split()
_BYTES = 256
# Size of the vocabulary, to the packaged file and how many languages it has.
KNOWN = {51864: ("english", 99), 51865: ("multilingual", 99), 51866: ("multilingual", 100)}


def end_of_text(size: int) -> int:
    """Return the id of `<|endoftext|>` in the vocabulary of this size, a key of `KNOWN`."""
    return ENGLISH_END if KNOWN[size][0] == "english" else ENGLISH_END + 1


def openai_tokenizer(size: int) -> Any:
    """Return the tokenizer of OpenAI's checkpoints whose vocabulary has this size, a key of `KNOWN`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import WhisperTokenizer

    name, languages = KNOWN[size]
    tokens, merges = text_vocabulary(name)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    control = [END, START, *(f"<|{code}|>" for code in LANGUAGES[:languages])]
    control += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    control += ["<|nospeech|>", NO_TIMES]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in control])
    tokenizer.add_tokens([f"<|{step / 50:.2f}|>" for step in range(1501)])
    roles = dict.fromkeys(("unk_token", "bos_token", "eos_token", "pad_token"), END)
    return WhisperTokenizer(tokenizer_object=tokenizer, **roles)


def text_vocabulary(name: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the tokens of text in the order of their ids, and the merges that make them, in the same order."""
    packed = files("xbench.models.families").joinpath(f"whisper_{name}.xz").read_bytes()
    first, second = np.frombuffer(lzma.decompress(packed), "<u2").reshape(2, -1).tolist()
    tokens = _byte_tokens()
    merges = []
    for number, (left, right) in enumerate(zip(first, second, strict=True), _BYTES):
        if left == number:
            tokens.append("")
            continue
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return tokens, merges


def _byte_tokens() -> list[str]:
    """Return the letters that stand for single bytes: visible ones for themselves, the others from 256 on."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(_BYTES) if byte not in set(visible)]
    return [chr(byte) for byte in visible] + [chr(_BYTES + i) for i in range(len(hidden))]
