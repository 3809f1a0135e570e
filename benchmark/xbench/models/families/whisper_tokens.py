"""The tokens of Whisper: which of them are text, and what its prompt is made of, as the tokenizer says.

A vocabulary of Whisper has text, then control tokens (`<|endoftext|>`, languages, tasks), then time stamps
(`<|0.00|>` to `<|30.00|>`). Fine-tunes put their own words behind the time stamps, so a class never follows from the
range of an id.

Source: `whisper/tokenizer.py` of openai/whisper, with its rule for tokens that are never written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_TIME_STAMP = re.compile(r"<\|\d+\.\d\d\|>")
_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
START, END, NO_TIMES = "<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>"
_TASKS = ("transcribe", "translate")
_PREVIOUS, _LANGUAGE_MODEL = "<|startofprev|>", "<|startoflm|>"
_NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")
_CONTROL = {START, END, NO_TIMES, _PREVIOUS, _LANGUAGE_MODEL, *_NO_SPEECH}
_CONTROL |= {f"<|{task}|>" for task in _TASKS}
ENGLISH_END = 50256  # <|endoftext|> in OpenAI's English-only vocabulary, which is that of GPT-2
# Notes of who speaks and of sounds, as subtitles have them. Musical signs of several tokens share their first one.
_SIGNS = '"#()*+/:;<=>@[\\]^_`{|}~「」『』'
_PAIRS = "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪"
_NOTES = (*_SIGNS, *_PAIRS.split())
_MUSIC = tuple("♩♪♫♬♭♮♯")


def text_tokens(tokenizer: Any) -> frozenset[int]:
    """Return the ids of all tokens that are written text: neither control tokens nor time stamps."""
    special = set(tokenizer.all_special_ids)
    special |= {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(
        number
        for token, number in tokenizer.get_vocab().items()
        if number not in special
        and token not in _CONTROL
        and not _TIME_STAMP.fullmatch(token)
        and not _LANGUAGE.fullmatch(token)
    )


def language_tokens(tokenizer: Any) -> dict[str, int]:
    """Return every language token of a tokenizer with its id, in the order of ids."""
    found = {t: i for t, i in tokenizer.get_added_vocab().items() if _LANGUAGE.fullmatch(t)}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def is_multilingual(tokenizer: Any) -> bool:
    """Say whether a tokenizer is that of a multilingual checkpoint; the English-only one has language tokens too."""
    end = tokenizer.get_vocab().get(END)
    return bool(language_tokens(tokenizer)) and end != ENGLISH_END


def generation_settings(tokenizer: Any) -> dict[str, Any]:
    """Return what generation_config.json of an OpenAI checkpoint says, for one that came without it.

    It holds what follows from the tokenizer: the prompt, and tokens that are never written. Heads that time words do
    not follow from it. A token that the tokenizer lacks is None.
    """
    ids = tokenizer.get_vocab()
    end = ids.get(END)
    found: dict[str, Any] = {
        "decoder_start_token_id": ids.get(START),
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "no_timestamps_token_id": ids.get(NO_TIMES),
        "prev_sot_token_id": ids.get(_PREVIOUS),
        "is_multilingual": is_multilingual(tokenizer),
        "return_timestamps": False,
        "max_initial_timestamp_index": 50,
        "begin_suppress_tokens": [*_written(tokenizer, " ")[:1], *([] if end is None else [end])],
        "suppress_tokens": _never_written(tokenizer, ids),
    }
    if found["is_multilingual"]:
        found["lang_to_id"] = language_tokens(tokenizer)
        found["task_to_id"] = {task: ids.get(f"<|{task}|>") for task in _TASKS}
    return found


def _written(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def _never_written(tokenizer: Any, ids: Mapping[str, int]) -> list[int]:
    """Return control tokens, and notes that are no speech; a hyphen or quote only where a word starts with it."""
    control = [START, _PREVIOUS, _LANGUAGE_MODEL, *_NO_SPEECH, *(f"<|{t}|>" for t in _TASKS)]
    found = {ids[token] for token in control if token in ids}
    found.update(_written(tokenizer, start)[0] for start in (" -", " '"))
    for note in (*_NOTES, *_MUSIC):
        for written in (_written(tokenizer, note), _written(tokenizer, " " + note)):
            if len(written) == 1 or note in _MUSIC:
                found.add(written[0])
    return sorted(found)
