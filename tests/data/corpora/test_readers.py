"""Readers of corpora: what each yields from its true layout, and what a wrong layout is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xbench import registry
from xbench.data.corpora import covost2 as covost2_reader
from xbench.data.corpora import (
    europarl_st,
)
from xbench.data.corpora import (
    fleurs as fleurs_reader,
)
from xbench.data.corpora import (
    librispeech as librispeech_reader,
)
from xbench.data.corpora import mls as mls_reader
from xbench.data.corpora import must_c as must_c_reader
from xbench.data.corpora.clip import Clip, lines, parallel, table
from xbench.data.manifest import Word
from xbench.description import CorpusDescription
from xbench.errors import UsageError

CORPORA = [d for d in registry.datasets.descriptions() if isinstance(d, CorpusDescription)]


def by_id(clips: list[Clip]) -> dict[str, Clip]:
    found = {clip.id: clip for clip in clips}
    assert len(found) == len(clips)
    return found


# Europarl-ST


def test_europarl_segments_of_both_directions(europarl: Path) -> None:
    clips = by_id(europarl_st.read(str(europarl), "test", (), ()))
    assert list(clips) == [
        "en.20080924.31.3-243_0.50-2.25",
        "en.20080924.31.3-243_3.00-5.00",
        "en.20080924.4.3-018_0.00-4.00",
        "it.20090112.14.1-130_1.00-2.00",
    ]
    first = clips["en.20080924.31.3-243_0.50-2.25"]
    assert first == Clip(
        id="en.20080924.31.3-243_0.50-2.25",
        audio=europarl / "v1.1/en/audios/en.20080924.31.3-243.flac",
        language="en",
        transcript="Madam President.",
        cluster="http://purl.org/linkedpolitics/EUmember_4521",
        translations={"it": "Signora Presidente."},
        offset=0.5,
        duration=1.75,
    )
    last = clips["it.20090112.14.1-130_1.00-2.00"]
    assert (last.language, last.translations) == ("it", {"en": "Thank you."})
    assert clips["en.20080924.31.3-243_3.00-5.00"].transcript == "Thank\u2028you."


def test_europarl_pairs_that_share_a_segment_share_a_clip(europarl: Path) -> None:
    clips = by_id(europarl_st.read(str(europarl / "v1.1"), "test", ("en",), ("it", "de")))
    shared = clips["en.20080924.31.3-243_0.50-2.25"]
    assert shared.translations == {"it": "Signora Presidente.", "de": "Frau Präsidentin."}
    assert len(clips) == 3


def test_europarl_tells_how_to_convert_m4a(europarl: Path) -> None:
    audios = europarl / "v1.1/en/audios"
    (audios / "en.20080924.4.3-018.wav").rename(audios / "en.20080924.4.3-018.m4a")
    with pytest.raises(UsageError, match=r"018\.m4a is AAC.*ffmpeg -n -i") as caught:
        europarl_st.read(str(europarl), "test", ("en",), ("it",))
    assert "\n" not in str(caught.value)


def test_europarl_files_whose_lines_do_not_match(europarl: Path, text: Callable[..., Path]) -> None:
    folder = europarl / "v1.1/en/it/test"
    text(folder / "segments.it", "solo una")
    with pytest.raises(UsageError, match=r"segments\.lst 3, .*segments\.it 1"):
        europarl_st.read(str(europarl), "test", (), ())
    text(folder / "segments.it", "a", "b", "c")
    text(folder / "segments.lst", "x 0 1", "x 1", "x 2 3")
    with pytest.raises(UsageError, match=r"segments\.lst:2: 'x 1' is not SPEECH START END"):
        europarl_st.read(str(europarl), "test", (), ())


# LibriSpeech


def test_librispeech_clips_words_and_speakers(librispeech: Path) -> None:
    clips = by_id(librispeech_reader.read(str(librispeech), "test-clean", (), ()))
    assert sorted(clips) == ["121-121726-0000", "61-70968-0000", "61-70968-0001"]
    first = clips["61-70968-0000"]
    assert first.audio == librispeech / "test-clean/61/70968/61-70968-0000.flac"
    assert (first.transcript, first.cluster, first.offset) == ("HE BEGAN 0", "61", None)
    # Ends are 0.10 (silence), 0.20, 0.25 (silence), 0.45, 0.50 (silence).
    assert first.words == (Word("HE", 0.10, 0.20), Word("BEGAN", 0.25, 0.45))
    assert clips["121-121726-0000"].words is None


def test_librispeech_takes_the_folder_above_and_no_other_language(librispeech: Path) -> None:
    above = str(librispeech.parent)
    assert len(librispeech_reader.read(above, "test-clean", ("en",), ())) == 3
    with pytest.raises(UsageError, match="has no it; of languages it has en"):
        librispeech_reader.read(above, "test-clean", ("it",), ())
    with pytest.raises(UsageError, match="no translations"):
        librispeech_reader.read(above, "test-clean", (), ("it",))


# MuST-C


def test_must_c_segments_of_one_and_of_two_targets(must_c: Path) -> None:
    german = by_id(must_c_reader.read(str(must_c), "tst-COMMON", (), ("de",)))
    clip = german["ted_1096_0.25-1.75"]
    assert (clip.offset, clip.duration, clip.cluster) == (0.25, 1.5, "ted_1096")
    assert (clip.transcript, clip.translations) == ("Back in New York.", {"de": "New York"})
    assert clip.audio == must_c / "en-de/data/tst-COMMON/wav/ted_1096.wav"
    both = by_id(must_c_reader.read(str(must_c), "tst-COMMON", ("en",), ()))
    assert both["ted_1096_2.00-3.00"].translations == {"de": "Danke.", "it": "Grazie."}


def test_must_c_refuses_what_does_not_fit(must_c: Path, text: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="has no fr; of languages it has de, it"):
        must_c_reader.read(str(must_c), "tst-COMMON", (), ("fr",))
    listed = must_c / "en-de/data/tst-COMMON/txt/tst-COMMON.yaml"
    text(listed, "- {duration: 1.0, offset: 0.0, wav: ted_1096.wav}")
    with pytest.raises(UsageError, match=r"as many segments as tst-COMMON\.en \(2\)"):
        must_c_reader.read(str(must_c), "tst-COMMON", (), ("de",))
    text(listed, "- {duration: 1.0, wav: ted_1096.wav}", "- {duration: 1.0, wav: ted_1096.wav}")
    with pytest.raises(UsageError, match="segment 1 lacks wav, offset or duration"):
        must_c_reader.read(str(must_c), "tst-COMMON", (), ("de",))
    text(listed, "- {duration: 1.0")
    with pytest.raises(UsageError, match="is not readable YAML"):
        must_c_reader.read(str(must_c), "tst-COMMON", (), ("de",))


# CoVoST 2


def test_covost_joins_tables_of_both_kinds(covost2: Path) -> None:
    clips = by_id(covost2_reader.read(str(covost2), "test", (), ()))
    assert sorted(clips) == ["common_voice_en_11", "common_voice_en_12"]
    first = clips["common_voice_en_11"]
    assert first.audio == covost2 / "en/clips/common_voice_en_11.mp3"
    assert (first.transcript, first.cluster) == ('He said "no.', "anna")
    assert first.translations == {"de": 'Er sagte "nein.', "zh": "不"}
    assert clips["common_voice_en_12"].translations == {"de": "Gut."}


def test_covost_train_takes_both_marks(covost2: Path) -> None:
    (clip,) = covost2_reader.read(str(covost2), "train", ("en",), ("zh",))
    assert (clip.id, clip.translations) == ("common_voice_en_13", {"zh": "坏"})


def test_covost_tells_a_lost_column(covost2: Path, text: Callable[..., Path]) -> None:
    text(covost2 / "en/covost_v2.en_de.test.tsv", "path\tsentence\ttranslation")
    with pytest.raises(UsageError, match=r"test\.tsv: the first line lacks the column client_id"):
        covost2_reader.read(str(covost2), "test", (), ("de",))


# FLEURS


def test_fleurs_translations_come_by_sentence(fleurs: Path) -> None:
    clips = by_id(fleurs_reader.read(str(fleurs), "test", (), ()))
    assert sorted(clips) == ["en-17", "en-18", "en-19", "it-5", "zh-7"]
    assert clips["en-17"].translations == {"it": "Una frase."}
    assert clips["en-18"].translations == {"zh": "二"}
    assert clips["it-5"].translations == {"en": 'A “quoted" sentence.'}
    assert {clips[i].cluster for i in ("en-17", "en-19", "it-5")} == {"sentence-1904"}
    assert clips["zh-7"].audio == fleurs / "data/cmn_hans_cn/audio/test/7.wav"


def test_fleurs_reads_the_languages_asked_for(fleurs: Path) -> None:
    english = fleurs_reader.read(str(fleurs), "test", ("en",), ())
    assert [clip.translations for clip in english] == [{}, {}, {}]
    english = fleurs_reader.read(str(fleurs), "test", ("en",), ("it",))
    assert [bool(clip.translations) for clip in english] == [True, False, True]


def test_fleurs_tells_to_unpack(fleurs: Path) -> None:
    folder = fleurs / "data/it_it/audio"
    (folder / "test").rename(folder / "elsewhere")
    with pytest.raises(UsageError, match=r"there is no .*it_it/audio/test"):
        fleurs_reader.read(str(fleurs), "test", (), ())
    (folder / "test.tar.gz").write_bytes(b"")
    with pytest.raises(UsageError, match=r"unpack first: tar -xzf .*test\.tar\.gz -C"):
        fleurs_reader.read(str(fleurs), "test", (), ())


def test_fleurs_tells_a_short_row(fleurs: Path, text: Callable[..., Path]) -> None:
    text(fleurs / "data/it_it/test.tsv", "1\t2.wav\tciao")
    with pytest.raises(UsageError, match=r"test\.tsv:1: 3 fields, expected 7"):
        fleurs_reader.read(str(fleurs), "test", (), ())


# Multilingual LibriSpeech


def test_mls_reads_every_language_and_both_kinds_of_audio(mls: Path) -> None:
    clips = by_id(mls_reader.read(str(mls), "test", (), ()))
    assert sorted(clips) == ["de-1054_1599_000000", "it-1054_1599_000000"]
    german, italian = clips["de-1054_1599_000000"], clips["it-1054_1599_000000"]
    assert german.audio == mls / "mls_german/test/audio/1054/1599/1054_1599_000000.flac"
    assert italian.audio.suffix == ".opus"  # type: ignore[union-attr]
    assert (german.transcript, german.cluster) == ("und so weiter", "1054")
    (alone,) = mls_reader.read(str(mls / "mls_german"), "test", (), ())
    assert alone == german


# All of them


@pytest.mark.parametrize("corpus", [d for d in CORPORA if not d.generic], ids=lambda d: d.name)
def test_a_wrong_layout_says_what_was_looked_for_and_where(
    corpus: CorpusDescription, tmp_path: Path
) -> None:
    (tmp_path / "wrong").mkdir()
    split = next(iter(corpus.splits))
    for root in (tmp_path / "wrong", tmp_path / "absent"):
        with pytest.raises(UsageError) as caught:
            corpus.load()(str(root), split, (), ())
        message = str(caught.value)
        assert message.startswith(f"{corpus.name}: ")
        assert str(root) in message
        assert f"`xbench show dataset {corpus.name}`" in message
        assert "\n" not in message


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda d: d.name)
def test_every_corpus_says_how_to_get_it(corpus: CorpusDescription) -> None:
    assert corpus.licence
    assert corpus.obtain
    assert corpus.layout.startswith("ROOT")
    assert corpus.generic or (corpus.clip_seconds and corpus.checked)


def test_text_files_are_split_at_line_feeds_only(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeffa\u2028b\r\nc\x0bd\n".encode())
    assert lines(path) == ["a\u2028b", "c\x0bd"]
    path.write_bytes(b"ab\xff")
    with pytest.raises(UsageError, match=r"t\.txt: not UTF-8 \(byte 3\)"):
        lines(path)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        list(parallel(tmp_path / "absent"))


def test_a_table_keeps_quotes(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text('a\tb\n"x\ty"\n')
    assert table(path, ("a", "b")) == [{"a": '"x', "b": 'y"'}]
