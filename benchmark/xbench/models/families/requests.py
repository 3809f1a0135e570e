"""Requests to language models: chat templates with a slot for audio, and the names of languages.

A conversation is rendered by the checkpoint's own chat template. The slot is one audio token in the rendered text; it
becomes as many audio tokens as the clip has positions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from xbench.errors import UsageError
from xbench.models.family import Languages, Loaded

Conversation = list[dict[str, Any]]

AUDIO = {"type": "audio", "audio": "clip", "audio_url": "clip"}


@cache
def language_names() -> Mapping[str, str]:
    """Return the English name of each language code that a request may name."""
    text = files("xbench.models.families").joinpath("language_names.yaml").read_text("utf-8")
    return {str(code): name for code, name in yaml.safe_load(text).items()}


def named(code: str) -> str:
    """Return the English name of a language."""
    return language_names()[code]


def translating(spoken: Collection[str], targets: Collection[str]) -> Languages:
    """Return languages of which each is translated into every target but itself."""
    return Languages(spoken, lambda source: [code for code in targets if code != source])


def into_or_from_english(spoken: Collection[str]) -> Languages:
    """Return languages of which each is translated into English, and English into each of the others."""
    others = [code for code in spoken if code != "en"]
    return Languages(spoken, lambda source: others if source == "en" else ["en"])


def chat_prompt(
    loaded: Loaded, conversation: Conversation, audio_token: int, positions: int, answer: str = ""
) -> tuple[int, ...]:
    """Return the tokens of a conversation up to where the model answers, its audio slot widened.

    answer: text that the answer is made to begin with. Raises UsageError where the template has no slot, or several.
    """
    template = getattr(loaded.processor, "chat_template", None) or loaded.tokenizer.chat_template
    name = loaded.network.config.model_type
    if not template:
        raise UsageError(
            f"the checkpoint of type '{name}' has no chat template: copy chat_template.jinja from the checkpoint that "
            "it was fine-tuned from"
        )
    text = loaded.tokenizer.apply_chat_template(
        conversation, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    tokens = loaded.tokenizer.encode(text + answer, add_special_tokens=False)
    return widened(tokens, audio_token, positions, name)


def request_behind_slot(
    loaded: Loaded, request: str, audio_token: int, positions: int
) -> tuple[int, ...]:
    """Return the tokens of a request for a chat template that takes text alone: the slot is written before it."""
    slot = loaded.tokenizer.convert_ids_to_tokens(audio_token)
    content = {"role": "user", "content": f"{slot}{request}"}
    return chat_prompt(loaded, [content], audio_token, positions)


def widened(
    tokens: Collection[int], audio_token: int, positions: int, name: str
) -> tuple[int, ...]:
    """Put as many audio tokens as there are positions where one of them stands."""
    slots = sum(token == audio_token for token in tokens)
    if slots != 1:
        raise UsageError(
            f"the chat template of the checkpoint of type '{name}' has {slots or 'no'} slots for audio, and xbench "
            "gives it one clip; take the template of the checkpoint that it was fine-tuned from"
        )
    wide: list[int] = []
    for token in tokens:
        wide.extend([token] * (positions if token == audio_token else 1))
    return tuple(wide)
