"""The registered model families and, from their data files, the registered checkpoints."""

from __future__ import annotations

from importlib.resources import files

import yaml

from xbench.description import Checkpoint, FamilyDescription


def _checkpoints(family: str) -> tuple[Checkpoint, ...]:
    text = files("xbench.models").joinpath(f"{family}.yaml").read_text("utf-8")
    return tuple(
        Checkpoint(
            name=name,
            hub_id=entry.get("hub_id"),
            revision=entry.get("revision"),
            packaged=entry.get("packaged"),
            parameters=int(entry["parameters"]),
            languages=entry["languages"],
            tasks=tuple(entry["tasks"]),
            licence=entry["licence"],
        )
        for name, entry in yaml.safe_load(text).items()
    )


WHISPER = FamilyDescription(
    name="whisper",
    version="1",
    summary="OpenAI Whisper and everything with its architecture: fine-tunes, distilled models",
    source="Radford et al. 2023, arXiv 2212.04356; transformers `WhisperForConditionalGeneration`",
    implementation="xbench.models.whisper:load",
    architecture="WhisperForConditionalGeneration",
    checkpoints=_checkpoints("whisper"),
)
SPEECH_TO_TEXT = FamilyDescription(
    name="speech_to_text",
    version="1",
    summary="fairseq S2T: filterbanks, strided convolutions, Transformer",
    source="Wang et al. 2020, arXiv 2010.05171; transformers `Speech2TextForConditionalGeneration`",
    implementation="xbench.models.speech_to_text:load",
    architecture="Speech2TextForConditionalGeneration",
    checkpoints=(),
)
