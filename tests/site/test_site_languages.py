"""Languages by their names: what readers see in place of codes."""

from __future__ import annotations

from xbench.models.families.whisper_vocabulary import LANGUAGES
from xbench.site.languages import NAMES, language, languages


def test_every_language_of_whisper_has_the_name_that_transformers_gives_it() -> None:
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    codes = {**TO_LANGUAGE_CODE, "norwegian nynorsk": "nn"}
    assert set(LANGUAGES) <= set(NAMES)
    for code in LANGUAGES:
        assert codes[NAMES[code].lower()] == code


def test_names_in_alphabetical_order_with_the_language_translated_into() -> None:
    assert languages(["zh", "de"], "en") == "Chinese, German → English"
    assert languages(["en"]) == "English"
    assert languages([]) == ""


def test_a_variety_keeps_its_code_and_an_unknown_language_has_nothing_else() -> None:
    assert language("pt-BR") == "Portuguese (pt-BR)"
    assert language("zh_cn") == "Chinese (zh_cn)"
    assert language("EN") == "English"
    assert language("tlh") == "tlh"
    assert language("") == ""
