"""FLEURS (Conneau et al. 2022, arXiv 2205.12446): the sentences of FLoRes read in 102 languages.

    ROOT/data/en_us/test.tsv             no header: id, file, raw transcription, transcription,
                                         characters, samples, gender
    ROOT/data/en_us/audio/test/....wav   from audio/test.tar.gz

A sentence has the same id in every language, which gives the translations, and is read by up to
three speakers who are not named: clusters are sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from xbench.data.corpora.clip import Clip, expected, table, wanted, wrong_layout

NAME = "fleurs"
_COLUMNS = ("id", "file", "raw", "normalised", "characters", "samples", "gender")
_CODES = {"cmn_hans_cn": "zh", "nb_no": "no", "fil_ph": "tl"}
"""Folders whose code in models and tasks is not their first part."""


def read(root: str, split: str, languages: Sequence[str], targets: Sequence[str]) -> list[Clip]:
    """Return the clips of all languages that ROOT holds, or of `languages`.

    Translations are those into `targets`, or else into the other languages that are read.
    """
    top = Path(root) / "data" if (Path(root) / "data").is_dir() else Path(root)
    tables = {_code(path.parent.name): path for path in sorted(top.glob(f"*_*/{split}.tsv"))}
    if not tables:
        expected(NAME, top / "en_us" / f"{split}.tsv")
        raise wrong_layout(NAME, f"{top} has no LANGUAGE_COUNTRY/{split}.tsv")
    spoken = wanted(NAME, list(tables), languages, top)
    into = wanted(NAME, list(tables), targets, top) if targets else spoken
    rows = {
        code: table(tables[code], _COLUMNS, header=False)
        for code in dict.fromkeys([*spoken, *into])
    }
    texts = {code: {row["id"]: row["raw"] for row in rows[code]} for code in into}
    return [
        clip
        for code in spoken
        for clip in _language(code, tables[code].parent / "audio" / split, rows[code], texts)
    ]


def _language(
    code: str, folder: Path, rows: list[dict[str, str]], texts: Mapping[str, Mapping[str, str]]
) -> Iterator[Clip]:
    packed = folder.parent / f"{folder.name}.tar.gz"
    if packed.is_file() and not folder.is_dir():
        raise wrong_layout(NAME, f"unpack first: tar -xzf {packed} -C {packed.parent}")
    expected(NAME, folder)
    for row in rows:
        others = {
            t: text[row["id"]] for t, text in texts.items() if t != code and row["id"] in text
        }
        yield Clip(
            id=f"{code}-{Path(row['file']).stem}",
            audio=folder / row["file"],
            language=code,
            transcript=row["raw"],
            cluster=f"sentence-{row['id']}",
            translations=others,
        )


def _code(folder: str) -> str:
    return _CODES.get(folder, folder.partition("_")[0])
