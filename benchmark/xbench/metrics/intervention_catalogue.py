"""The intervention metrics as the registry lists them (torch-free)."""

from __future__ import annotations

from typing import Any

from xbench.description import MetricDescription, Parameter

_MODULE = "xbench.metrics.intervention"
_DROP = Parameter(
    "smallest_drop",
    "float",
    "a token whose log-probability falls by less (nats) when all is hidden is left out",
    default=0.5,
    minimum=0,
)
_ROWS = Parameter(
    "rows",
    "str",
    "tokens whose mean ranks the cells: content (if not given), or generated, the end of the sentence included",
    choices=("content", "generated"),
)
_TEXT = Parameter(
    "text",
    "str",
    "text of the WER: normalised (if not given), or plain, with capitals and punctuation",
    choices=("normalised", "plain"),
)
_RESOLUTION = Parameter(
    "resolution",
    "str",
    "of maps: cells (if not given), or frames, all maps on encoder frames and repeated over their cells",
    choices=("cells", "frames"),
)
_SHARED: dict[str, Any] = {
    "version": "1",
    "family": "intervention",
    "no_ceiling": "no-ceiling",
}
_WHERE = {"encoder": "encoder frames zeroed", "input": "spectrogram cells set to the channel mean"}
_PETSIUK = "Petsiuk et al. 2018, arXiv 1806.07421"
_SPES = "Fucci et al. 2024, arXiv 2411.01710"


def _name(name: str, space: str) -> str:
    return name if space == "encoder" else f"{name}-input"


def _forced(name: str, what: str, space: Any) -> MetricDescription:
    return MetricDescription(
        name=_name(name, space),
        summary=f"{what}, each token by its own row ({_WHERE[space]})",
        source=_PETSIUK,
        implementation=f"{_MODULE}:{name.replace('-', '_')}",
        parameters=(_DROP,),
        higher_is_better=True,
        range=(None, None),
        takes="curves",
        space=space,
        **_SHARED,
    )


def _free(name: str, takes: Any, what: str, space: Any) -> MetricDescription:
    parameters = (_ROWS, _TEXT) if space == "encoder" else (_RESOLUTION, _ROWS, _TEXT)
    return MetricDescription(
        name=_name(name, space),
        summary=f"{what} ({_WHERE[space]}; WER clipped at 100, 100 - BLEU or 100 - chrF)",
        source=_SPES,
        implementation=f"{_MODULE}:auc_free",
        parameters=parameters,
        measured=frozenset(p.name for p in parameters),
        higher_is_better=takes == "deleted",
        range=(0.0, 100.0),
        takes=takes,
        space=space,
        corpus=f"{_MODULE}:corpus_auc_free",
        **_SHARED,
    )


_DELETED = (
    "share of the token's log-probability lost while the most relevant cells are hidden first"
)
_INSERTED = "share of the token's log-probability won back while the most relevant cells come first"
DELETION_AUC = _forced("deletion-auc", _DELETED, "encoder")
INSERTION_AUC = _forced("insertion-auc", _INSERTED, "encoder")
DELETION_AUC_INPUT = _forced("deletion-auc", _DELETED, "input")
INSERTION_AUC_INPUT = _forced("insertion-auc", _INSERTED, "input")

_WRITES_LESS = "loss of what the model writes while the most relevant cells are hidden first"
_WRITES_MORE = "loss of what the model writes while the most relevant cells come first"
DELETION_AUC_FREE = _free("deletion-auc-free", "deleted", _WRITES_LESS, "encoder")
INSERTION_AUC_FREE = _free("insertion-auc-free", "inserted", _WRITES_MORE, "encoder")
DELETION_AUC_FREE_INPUT = _free("deletion-auc-free", "deleted", _WRITES_LESS, "input")
INSERTION_AUC_FREE_INPUT = _free("insertion-auc-free", "inserted", _WRITES_MORE, "input")

_ERASER = "DeYoung et al. 2020 (ERASER), arXiv 1911.03429"
COMPREHENSIVENESS = MetricDescription(
    name="comprehensiveness",
    summary="probability the token loses without its 5, 10, 20, 50 % most relevant frames",
    source=_ERASER,
    implementation=f"{_MODULE}:comprehensiveness",
    higher_is_better=True,
    range=(-1.0, 1.0),
    takes="curves",
    **_SHARED,
)
SUFFICIENCY_ERASER = MetricDescription(
    name="sufficiency-eraser",
    summary="probability the token loses with only its 5, 10, 20, 50 % most relevant frames",
    source=_ERASER,
    implementation=f"{_MODULE}:sufficiency_eraser",
    higher_is_better=False,
    range=(-1.0, 1.0),
    takes="curves",
    **_SHARED,
)
FAITHFULNESS_CORRELATION = MetricDescription(
    name="faithfulness-correlation",
    summary="correlation of the map's sum over random frames with the drop when they are hidden",
    source="Bhatt et al. 2020, arXiv 2005.00631",
    implementation=f"{_MODULE}:faithfulness_correlation",
    parameters=(
        Parameter(
            "share",
            "str",
            "percent of the frames that are hidden",
            default="20",
            choices=("10", "20", "30", "50"),
        ),
        _DROP,
    ),
    higher_is_better=True,
    range=(-1.0, 1.0),
    takes="effects",
    **_SHARED,
)
SENSITIVITY_N = MetricDescription(
    name="sensitivity-n",
    summary="correlation of the map's sum over random frames with the drop when they are hidden; mean over sets of 10, "
    "20, 30 and 50 % of the frames",
    source="Ancona et al. 2018, arXiv 1711.06104",
    implementation=f"{_MODULE}:sensitivity_n",
    parameters=(_DROP,),
    higher_is_better=True,
    range=(-1.0, 1.0),
    takes="effects",
    **_SHARED,
)
INFIDELITY = MetricDescription(
    name="infidelity",
    summary="scaled squared error of the map's sum over random frames against the drop",
    source="Yeh et al. 2019, arXiv 1901.09392, with the map scaled",
    implementation=f"{_MODULE}:infidelity",
    parameters=(_DROP,),
    higher_is_better=False,
    range=(0.0, 1.0),
    takes="effects",
    **_SHARED,
)
POLARITY = MetricDescription(
    name="polarity",
    summary="share of the map's mass whose sign is that of the effect of hiding the frame",
    source="after Liu et al. 2022, arXiv 2201.12114",
    implementation=f"{_MODULE}:polarity",
    parameters=(_DROP,),
    higher_is_better=True,
    range=(0.0, 1.0),
    takes="effects",
    **_SHARED,
)


def _size(space: Any, where: str) -> MetricDescription:
    return MetricDescription(
        name=_name("size", space),
        summary=f"how much of the map lies above thresholds from 0 to 1: compactness, not faithfulness ({where})",
        source=_SPES,
        implementation=f"{_MODULE}:size",
        higher_is_better=False,
        range=(0.0, 100.0),
        takes="map",
        space=space,
        **_SHARED,
    )


SIZE = _size("encoder", "on encoder frames")
SIZE_INPUT = _size("input", "on the cells of the spectrogram, as published for SPES")
