"""Miniature corpora in the layouts in which the real ones are distributed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

WriteAudio = Callable[..., Path]
WriteText = Callable[..., Path]


@pytest.fixture
def audio() -> WriteAudio:
    """Return a function that writes a ramp: sample n is n / 2**17, so that any part of it shows where it is from."""

    def write(path: Path, seconds: float, rate: int = 16_000, **format: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.arange(round(seconds * rate)) / 2**17, rate, **format)
        return path

    return write


@pytest.fixture
def text() -> WriteText:
    def write(path: Path, *lines: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def europarl(tmp_path: Path, audio: WriteAudio, text: WriteText) -> Path:
    """Europarl-ST: two English speeches for en-it, one of them for en-de too, one Italian for it-en."""
    root = tmp_path / "europarl" / "v1.1"
    audio(root / "en/audios/en.20080924.31.3-243.flac", 6)
    audio(root / "en/audios/en.20080924.4.3-018.wav", 4)
    audio(root / "it/audios/it.20090112.14.1-130.flac", 3)
    for source, target, speeches, speakers, segments in (
        (
            "en",
            "it",
            ["en.20080924.31.3-243", "en.20080924.4.3-018"],
            [
                "http://purl.org/linkedpolitics/EUmember_4521",
                "http://purl.org/linkedpolitics/EUmember_7",
            ],
            [
                ("en.20080924.31.3-243 0.50 2.25", "Madam President.", "Signora Presidente."),
                ("en.20080924.31.3-243 3.00 5.00", "Thank\u2028you.", "Grazie."),
                ("en.20080924.4.3-018 0.00 4.00", "I agree.", "Concordo."),
            ],
        ),
        (
            "en",
            "de",
            ["en.20080924.31.3-243"],
            ["http://purl.org/linkedpolitics/EUmember_4521"],
            [("en.20080924.31.3-243 0.50 2.25", "Madam President.", "Frau Präsidentin.")],
        ),
        (
            "it",
            "en",
            ["it.20090112.14.1-130"],
            ["http://purl.org/linkedpolitics/EUmember_9"],
            [("it.20090112.14.1-130 1.00 2.00", "Grazie.", "Thank you.")],
        ),
    ):
        folder = root / source / target / "test"
        text(folder / "speeches.lst", *speeches)
        text(folder / "speakers.lst", *speakers)
        times, transcripts, translations = zip(*segments, strict=True)
        text(folder / "segments.lst", *times)
        text(folder / f"segments.{source}", *transcripts)
        text(folder / f"segments.{target}", *translations)
    return root.parent


@pytest.fixture
def librispeech(tmp_path: Path, audio: WriteAudio, text: WriteText) -> Path:
    root = tmp_path / "LibriSpeech"
    text(
        root / "SPEAKERS.TXT",
        ";ID  |SEX| SUBSET           |MINUTES| NAME",
        "61 | M | test-clean | 8.1 | P",
    )
    for speaker, chapter, clips in (("61", "70968", 2), ("121", "121726", 1)):
        folder = root / "test-clean" / speaker / chapter
        names = [f"{speaker}-{chapter}-{number:04d}" for number in range(clips)]
        for name in names:
            audio(folder / f"{name}.flac", 0.5)
        text(folder / f"{speaker}-{chapter}.trans.txt", *(f"{n} HE BEGAN {n[-1]}" for n in names))
    text(
        root / "test-clean/61/70968/61-70968.alignment.txt",
        '61-70968-0000 ",HE,,BEGAN," "0.10,0.20,0.25,0.45,0.50"',
    )
    return root


@pytest.fixture
def must_c(tmp_path: Path, audio: WriteAudio, text: WriteText) -> Path:
    root = tmp_path / "MUSTC_v1.0"
    for target, translation in (("de", "Danke."), ("it", "Grazie.")):
        folder = root / f"en-{target}" / "data" / "tst-COMMON"
        audio(folder / "wav" / "ted_1096.wav", 4)
        text(
            folder / "txt" / "tst-COMMON.yaml",
            "- {duration: 1.500000, offset: 0.250000, rW: 9, uW: 1, speaker_id: spk.1096, wav: ted_1096.wav}",
            "- {duration: 1.000000, offset: 2.000000, rW: 4, uW: 0, speaker_id: spk.1096, wav: ted_1096.wav}",
        )
        text(folder / "txt" / "tst-COMMON.en", "Back in New York.", "Thank you.")
        text(folder / "txt" / f"tst-COMMON.{target}", "New York", translation)
    return root


@pytest.fixture
def covost2(tmp_path: Path, audio: WriteAudio, text: WriteText) -> Path:
    """CoVoST 2: en-de as the splitting script writes it, en-zh-CN as it is distributed."""
    root = tmp_path / "covost"
    names = [f"common_voice_en_{number}.mp3" for number in (11, 12, 13)]
    for name in names:
        audio(root / "en" / "clips" / name, 0.5, 48_000)
    text(
        root / "en" / "validated.tsv",
        "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent",
        f'anna\t{names[0]}\tHe said "no.\t2\t0\t\t\t',
        f"bob\t{names[1]}\tGood.\t2\t0\t\t\t",
        f"bob\t{names[2]}\tBad.\t2\t0\t\t\t",
    )
    text(
        root / "en" / "covost_v2.en_de.test.tsv",
        "path\tsentence\ttranslation\tclient_id",
        f'{names[0]}\tHe said "no.\tEr sagte "nein.\tanna',
        f"{names[1]}\tGood.\tGut.\tbob",
    )
    text(
        root / "en" / "covost_v2.en_zh-CN.tsv",
        "path\ttranslation\tsplit",
        f"{names[0]}\t不\ttest",
        f"{names[2]}\t坏\ttrain_covost",
        "common_voice_en_99.mp3\t无\ttest",
    )
    return root


@pytest.fixture
def fleurs(tmp_path: Path, audio: WriteAudio, text: WriteText) -> Path:
    root = tmp_path / "fleurs"
    rows = {
        "en_us": [
            ("1904", "17.wav", 'A “quoted" sentence.'),
            ("1675", "18.wav", "Two."),
            ("1904", "19.wav", 'A “quoted" sentence.'),
        ],
        "it_it": [("1904", "5.wav", "Una frase.")],
        "cmn_hans_cn": [("1675", "7.wav", "二")],
    }
    for code, sentences in rows.items():
        folder = root / "data" / code
        text(
            folder / "test.tsv",
            *(
                f"{id}\t{file}\t{raw}\t{raw.lower()}\tt w o |\t8000\tFEMALE"
                for id, file, raw in sentences
            ),
        )
        for _, file, _ in sentences:
            audio(folder / "audio" / "test" / file, 0.5)
    return root


@pytest.fixture
def mls(tmp_path: Path, audio: WriteAudio, text: WriteText) -> Path:
    root = tmp_path / "mls"
    for name, suffix, format in (
        ("mls_german", "flac", {}),
        ("mls_italian_opus", "opus", {"format": "OGG", "subtype": "OPUS"}),
    ):
        folder = root / name / "test"
        clip = "1054_1599_000000"
        audio(folder / "audio" / "1054" / "1599" / f"{clip}.{suffix}", 0.5, **format)
        text(folder / "transcripts.txt", f"{clip}\tund so weiter")
        text(folder / "segments.txt", f"{clip}\thttp://www.archive.org/x.mp3\t1\t1.5")
    return root
