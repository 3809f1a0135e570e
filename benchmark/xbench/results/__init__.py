"""Result files: their records, how they are written and read.

The dataclasses mirror `schemas/result.schema.json`, the public contract; a test holds the two against each other.
"""

from xbench.results.reading import load_results, parse_result, read_result
from xbench.results.records import (
    AudioTokens,
    CeilingRecord,
    Cost,
    DatasetRecord,
    Failure,
    FittedRecord,
    GateRecord,
    Interval,
    MaskCounts,
    MethodRecord,
    ModelRecord,
    PackRecord,
    Provenance,
    QualityRecord,
    ReferenceRecord,
    ScoreRecord,
    SinksRecord,
    TaskRecord,
    UnreliableRows,
    column_name,
    model_labels,
    short_labels,
    undefined_counts,
)
from xbench.results.result import SCHEMA, RunResult

__all__ = [
    "SCHEMA",
    "AudioTokens",
    "CeilingRecord",
    "Cost",
    "DatasetRecord",
    "Failure",
    "FittedRecord",
    "GateRecord",
    "Interval",
    "MaskCounts",
    "MethodRecord",
    "ModelRecord",
    "PackRecord",
    "Provenance",
    "QualityRecord",
    "ReferenceRecord",
    "RunResult",
    "ScoreRecord",
    "SinksRecord",
    "TaskRecord",
    "UnreliableRows",
    "column_name",
    "load_results",
    "model_labels",
    "parse_result",
    "read_result",
    "short_labels",
    "undefined_counts",
]
