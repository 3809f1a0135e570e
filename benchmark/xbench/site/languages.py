"""Codes of languages as readers know them: `de` is German. Data files and addresses keep the codes."""

from __future__ import annotations

from collections.abc import Iterable

# Every language of Whisper, and more that other models know; the table of transformers would load torch.
_NAMES = """
    af Afrikaans; am Amharic; ar Arabic; as Assamese; az Azerbaijani; ba Bashkir; be Belarusian; bg
    Bulgarian; bn Bengali; bo Tibetan; br Breton; bs Bosnian; ca Catalan; cs Czech; cy Welsh; da Danish;
    de German; el Greek; en English; eo Esperanto; es Spanish; et Estonian; eu Basque; fa Persian; fi
    Finnish; fo Faroese; fr French; ga Irish; gl Galician; gu Gujarati; ha Hausa; haw Hawaiian; he
    Hebrew; hi Hindi; hr Croatian; ht Haitian Creole; hu Hungarian; hy Armenian; id Indonesian; ig Igbo;
    is Icelandic; it Italian; ja Japanese; jv Javanese; jw Javanese; ka Georgian; kk Kazakh; km Khmer;
    kn Kannada; ko Korean; ky Kyrgyz; la Latin; lb Luxembourgish; lg Ganda; ln Lingala; lo Lao; lt
    Lithuanian; lv Latvian; mg Malagasy; mi Maori; mk Macedonian; ml Malayalam; mn Mongolian; mr
    Marathi; ms Malay; mt Maltese; my Burmese; nb Norwegian Bokmål; ne Nepali; nl Dutch; nn Norwegian
    Nynorsk; no Norwegian; oc Occitan; or Odia; pa Punjabi; pl Polish; ps Pashto; pt Portuguese; ro
    Romanian; ru Russian; sa Sanskrit; sd Sindhi; si Sinhala; sk Slovak; sl Slovenian; sn Shona; so
    Somali; sq Albanian; sr Serbian; su Sundanese; sv Swedish; sw Swahili; ta Tamil; te Telugu; tg
    Tajik; th Thai; tk Turkmen; tl Tagalog; tr Turkish; tt Tatar; uk Ukrainian; ur Urdu; uz Uzbek; vi
    Vietnamese; xh Xhosa; yi Yiddish; yo Yoruba; yue Cantonese; zh Chinese; zu Zulu
"""
NAMES = dict(line.split(" ", 1) for line in " ".join(_NAMES.split()).split("; "))


def language(code: str) -> str:
    """Return the English name of a language; of a variety with its code (`pt-BR`), of an unknown one the code alone."""
    base = code.replace("_", "-").partition("-")[0].lower()
    name = NAMES.get(base)
    if name is None:
        return code
    return name if base == code.lower() else f"{name} ({code})"


def languages(codes: Iterable[str], target: str | None = None) -> str:
    """Return names in alphabetical order, and after an arrow the language that they are translated into."""
    said = ", ".join(sorted(map(language, codes)))
    return f"{said} → {language(target)}" if target else said
