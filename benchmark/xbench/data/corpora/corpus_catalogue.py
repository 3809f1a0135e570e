"""Descriptions of the corpora that `xbench data prepare` reads (torch-free).

`clip_seconds` only serve cost estimates: hours of a test split divided by its clips, rounded.
"""

from __future__ import annotations

from xbench.description import CorpusDescription, Parameter

EUROPARL_ST = CorpusDescription(
    name="europarl-st",
    version="1",
    summary="Speeches in the European Parliament with translations, in nine languages.",
    source="Iranzo-Sánchez et al. 2020, arXiv 1911.03167",
    implementation="xbench.data.corpora.europarl_st:read",
    licence="CC-BY-NC-4.0",
    splits={"test": "test", "dev": "dev", "train": "train", "train-noisy": "noisy part of train"},
    layout="ROOT/en/audios/....m4a, ROOT/en/it/test/{segments.lst,segments.en,segments.it,speeches.lst,speakers.lst}",
    obtain="v1.1 from https://www.mllp.upv.es/europarl-st; convert its .m4a files to .flac",
    clip_seconds=11.5,
    checked=(
        "licence: the paper; languages: v1.1 has nine, the paper six, from memory; clip length: 3 h "
        "in 1,130 (en) and 6 h in 1,686 segments (it), Papi et al. 2025"
    ),
    options="without --language and --target: en-it and it-en, the paper's test sets",
)
LIBRISPEECH = CorpusDescription(
    name="librispeech",
    version="1",
    summary="Read English books.",
    source="Panayotov et al. 2015, ICASSP",
    implementation="xbench.data.corpora.librispeech:read",
    licence="CC-BY-4.0",
    splits={
        name: name
        for name in (
            *("test-clean", "test-other", "dev-clean", "dev-other"),
            *("train-clean-100", "train-clean-360", "train-other-500"),
        )
    },
    layout="ROOT/test-clean/SPEAKER/CHAPTER/{SPEAKER-CHAPTER-NUMBER.flac,SPEAKER-CHAPTER.trans.txt}",
    obtain="https://www.openslr.org/12",
    clip_seconds=7.4,
    checked="nothing; licence and clip length (test-clean: 5.4 h, 2,620 clips) are from memory",
)
MUST_C = CorpusDescription(
    name="must-c",
    version="1",
    summary="English TED talks with translations into eight languages.",
    source="Di Gangi et al. 2019, NAACL",
    implementation="xbench.data.corpora.must_c:read",
    licence="CC-BY-NC-ND-4.0",
    splits={"tst-COMMON": "test", "tst-HE": "test of human evaluation", "dev": "dev", "train": ""},
    layout="ROOT/en-de/data/tst-COMMON/{wav/ted_1096.wav,txt/tst-COMMON.yaml,txt/tst-COMMON.en,txt/tst-COMMON.de}",
    obtain="MuST-C v1.0 from https://mt.fbk.eu/must-c",
    clip_seconds=5.6,
    checked=(
        "the eight languages: fairseq's MuST-C example; licence and clip length (tst-COMMON en-de: "
        "4.1 h, 2,641 clips) are from memory"
    ),
    options="--target de for one pair; without it all pairs in ROOT",
)
COVOST2 = CorpusDescription(
    name="covost2",
    version="1",
    summary="Common Voice clips with translations: 21 languages into English, English into 15.",
    source="Wang et al. 2020, arXiv 2007.10310",
    implementation="xbench.data.corpora.covost2:read",
    licence="CC0-1.0",
    splits={"test": "test", "dev": "dev", "train": "train"},
    layout="ROOT/en/{clips/....mp3,validated.tsv,covost_v2.en_de.tsv}",
    obtain="Common Voice 4.0 from https://commonvoice.mozilla.org and the tables of https://github.com/facebookresearch/covost",
    clip_seconds=5.7,
    checked=(
        "licence: the README of CoVoST 1, data only; numbers of languages and clip length (en test: "
        "25 h, 15,531 clips) are from memory"
    ),
)
FLEURS = CorpusDescription(
    name="fleurs",
    version="1",
    summary="The same sentences read in 102 languages.",
    source="Conneau et al. 2022, arXiv 2205.12446",
    implementation="xbench.data.corpora.fleurs:read",
    licence="CC-BY-4.0",
    splits={"test": "test", "dev": "dev", "train": "train"},
    layout="ROOT/data/en_us/{test.tsv,audio/test/....wav}",
    obtain="https://huggingface.co/datasets/google/fleurs, folder data: each test.tsv and audio/test.tar.gz, unpacked",
    clip_seconds=12.0,
    checked=(
        "licence and number of languages: the dataset's card; clip length (about 12 h in 3,000 to "
        "4,000 clips per language) is from memory"
    ),
    options="--language en,it,de,fr,es for the tasks of the suite core",
)
MLS = CorpusDescription(
    name="mls",
    version="1",
    summary="Read books in eight languages (Multilingual LibriSpeech).",
    source="Pratap et al. 2020, arXiv 2012.03411",
    implementation="xbench.data.corpora.mls:read",
    licence="CC-BY-4.0",
    splits={"test": "test", "dev": "dev", "train": "train"},
    layout="ROOT/mls_german/test/{transcripts.txt,audio/SPEAKER/BOOK/SPEAKER_BOOK_NUMBER.flac}",
    obtain="https://www.openslr.org/94",
    clip_seconds=15.0,
    checked=(
        "licence: the dataset's card on the hub; languages and hours: the paper; clip length (clips "
        "of 10 to 20 s) is from memory"
    ),
)
HUB = CorpusDescription(
    name="hub",
    version="1",
    summary="A dataset of the Hugging Face hub, streamed; needs the extra hub.",
    source="https://huggingface.co/docs/datasets",
    implementation="xbench.data.corpora.hub:read",
    licence="as the dataset's card says",
    splits={name: f"the dataset's {name}" for name in ("test", "validation", "train")},
    layout="ROOT is OWNER/NAME, OWNER/NAME@REVISION or a local folder",
    obtain="named as ROOT; HF_TOKEN for a private one, HF_ENDPOINT for a mirror",
    clip_seconds=None,
    generic=True,
    options="--language LANGUAGE is needed; columns are parameters: hub:text=sentence,cluster=client_id",
    parameters=(
        Parameter("config", "str", "configuration of the dataset, such as en_us", default=""),
        Parameter("audio", "str", "column of the audio", default="audio"),
        Parameter("text", "str", "column of the transcript", default="transcription"),
        Parameter("translation", "str", "column of the translation into --target", default=""),
        Parameter("cluster", "str", "column of the speaker or talk", default=""),
        Parameter("id", "str", "column of the ids; none: split and row number", default=""),
    ),
)
