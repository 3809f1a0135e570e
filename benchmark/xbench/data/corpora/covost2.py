"""CoVoST 2 (Wang et al. 2020, arXiv 2007.10310): translations of Common Voice clips.

    ROOT/en/clips/common_voice_en_18540003.mp3    Common Voice 4.0 in the language that is spoken
    ROOT/en/validated.tsv                         client_id, path, sentence, ...
    ROOT/en/covost_v2.en_de.test.tsv              path, sentence, translation, client_id
    ROOT/en/covost_v2.en_de.tsv                   as distributed: path, translation, split

The table of one split is what the authors' splitting script makes; without it, the distributed table
is joined with validated.tsv, in the way of that script. Tables may also lie in ROOT itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from xbench.data.corpora.clip import Clip, expected, merged, table, wanted, wrong_layout

NAME = "covost2"
_TABLE = re.compile(r"covost_v2\.([A-Za-z-]+)_([A-Za-z-]+)(?:\.(\w+))?\.tsv")


def read(root: str, split: str, languages: Sequence[str], targets: Sequence[str]) -> list[Clip]:
    """Return the clips of all pairs that ROOT holds, or of those asked for; clusters are speakers."""
    top = expected(NAME, Path(root))
    tables: dict[tuple[str, str], Path] = {}
    found = [*top.glob("covost_v2.*.tsv"), *top.glob("*/covost_v2.*.tsv")]
    for path in sorted(found, key=lambda p: p.name):
        match = _TABLE.fullmatch(path.name)
        # Sorted, the table of a split comes before the distributed one: `.test.tsv` < `.tsv`.
        if match and match[3] in (split, None):
            tables.setdefault((match[1], match[2]), path)
    if not tables:
        looked = f"covost_v2.LANGUAGE_TARGET.{split}.tsv nor covost_v2.LANGUAGE_TARGET.tsv"
        raise wrong_layout(NAME, f"{top} and its folders have no {looked}")
    spoken = wanted(NAME, list(dict.fromkeys(_short(s) for s, _ in tables)), languages, top)
    into = wanted(NAME, list(dict.fromkeys(_short(t) for _, t in tables)), targets, top)
    return merged(
        clip
        for (source, target), path in tables.items()
        if _short(source) in spoken and _short(target) in into
        for clip in _pair(top, source, target, split, path)
    )


def _pair(top: Path, source: str, target: str, split: str, path: Path) -> Iterator[Clip]:
    home = top / source if (top / source).is_dir() else top
    clips = expected(NAME, home / "clips")
    for row in _rows(path, split, home):
        name = Path(row["path"]).stem
        yield Clip(
            id=name,
            audio=clips / f"{name}.mp3",
            language=_short(source),
            transcript=row["sentence"],
            cluster=row["client_id"],
            translations={_short(target): row["translation"]},
        )


def _rows(path: Path, split: str, home: Path) -> Iterator[dict[str, str]]:
    if path.name.endswith(f".{split}.tsv"):
        yield from table(path, ("path", "sentence", "translation", "client_id"))
        return
    validated = expected(NAME, home / "validated.tsv")
    known = {row["path"]: row for row in table(validated, ("client_id", "path", "sentence"))}
    for row in table(path, ("path", "translation", "split")):
        if row["split"] in (split, f"{split}_covost") and row["path"] in known:
            yield {**known[row["path"]], **row}


def _short(code: str) -> str:
    """Return `zh` for `zh-CN`: the codes that models and tasks use."""
    return code.partition("-")[0]
