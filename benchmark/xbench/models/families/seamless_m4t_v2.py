"""The speech-to-text part of SeamlessM4T v2; all that is said of the first version holds."""

from __future__ import annotations

from typing import Any

from xbench.models.families.seamless_m4t import family
from xbench.models.loading import Location
from xbench.models.seq2seq import Seq2SeqModel, load_family

FAMILY = family("seamless_m4t_v2", "SeamlessM4Tv2ForSpeechToText")


def load(location: Location, **options: Any) -> Seq2SeqModel:
    """Load the speech-to-text part of a SeamlessM4T v2 checkpoint from a folder or the hub."""
    return load_family(FAMILY, location, **options)
