"""The result of one run: written as schema-checked JSON (`xbench.result/1`), shown in Jupyter."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from xbench.errors import UsageError
from xbench.notebook import number_text, table_html
from xbench.results.records import (
    Cost,
    Failure,
    GateRecord,
    MethodRecord,
    ModelRecord,
    PackRecord,
    Provenance,
    QualityRecord,
    ReferenceRecord,
    ScoreRecord,
    SinksRecord,
    TaskRecord,
    column_name,
)
from xbench.schemas import problems
from xbench.schemas.quick import accepts
from xbench.spec import LOCAL, slug
from xbench.store import write_atomically

SCHEMA = "xbench.result/1"


@dataclass(frozen=True)
class RunResult:
    """One model, one method, one task: scores with their uncertainty, and where they came from."""

    status: Literal["complete", "partial", "unsupported", "failed"]
    reason: str | None
    task: TaskRecord
    model: ModelRecord
    method: MethodRecord
    references: list[ReferenceRecord]
    quality: QualityRecord
    scores: list[ScoreRecord]
    utterances: dict[str, list[Any]]
    failures: list[Failure]
    cost: Cost
    provenance: Provenance
    padding_mass: float | None = None
    sinks: SinksRecord | None = None
    gates: list[GateRecord] = field(default_factory=list)
    pack: PackRecord | None = None
    schema: str = field(default=SCHEMA)

    def score(self, metric: str, reference: str | None = None) -> ScoreRecord:
        """Return the score of this metric (and reference, where several have it)."""
        for record in self.scores:
            if record.metric == metric and reference in (None, record.reference):
                return record
        have = ", ".join(f"{s.metric}@{s.reference}" for s in self.scores) or "none"
        raise UsageError(f"the result has no score '{metric}@{reference}'; it has {have}")

    @property
    def own(self) -> str | None:
        """Say what of it no package registers: a function or a model of one session, which nobody else has."""
        own = [
            f"{plugin['kind']} '{plugin['name']}'"
            for plugin in self.provenance.plugins
            if plugin["distribution"] == LOCAL
        ]
        return " and ".join(own) or None

    def path(self) -> Path:
        """Return `<task>/<model>/<method>-<hash>.json`, relative to the results folder."""
        params = "-".join(f"{k}-{v}" for k, v in self.method.params.items())
        method = slug(f"{self.method.name}-{params}") if params else slug(self.method.name)
        name = f"{method}-{slug(self.provenance.spec_hash[:8])}.json"
        return Path(slug(self.task.name)) / slug(self.model.name) / name

    def _repr_html_(self) -> str:
        """Return a table of all scores with intervals, floor, ceiling and skill."""
        facts = {
            "task": f"{self.task.name} ({self.task.preset})",
            "model": self.model.name,
            "status": self.status + (f": {self.reason}" if self.reason else ""),
        }
        listed = "; ".join(f"{name} {value}" for name, value in facts.items())
        head = ["metric", "score", "floor", "ceiling", "skill", "by effect", "skill by effect"]
        head.append("utterances")
        rows = [
            [
                column_name(s.metric, s.reference),
                number_text(s.value, s.ci, s.reason),
                number_text(s.floor.value, s.floor.ci, s.floor.reason),
                number_text(s.ceiling.value, s.ceiling.ci, s.ceiling.reason),
                number_text(s.skill.value, s.skill.ci, s.skill.reason),
                *(
                    number_text(part.value, part.ci, part.reason) if part else "–"
                    for part in (s.weighted, s.weighted_skill)
                ),
                f"{s.n} in {s.n_clusters} clusters",
            ]
            for s in self.scores
        ]
        return table_html(f"{self.method.label}; {listed}", head, rows)

    def to_json(self) -> str:
        """Serialise; raises ValueError on NaN or infinity, which no result may hold."""
        return json.dumps(_plain(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, folder: Path) -> Path:
        """Check against the schema and write atomically under `folder`; return the file's path."""
        text = self.to_json()
        data = json.loads(text)
        if not accepts("result")(data) and (found := problems("result", data)):
            raise AssertionError(f"xbench made a result that breaks its own schema: {found[0]}")
        path = folder / self.path()
        write_atomically(path, text.encode())
        return path


def _plain(value: Any) -> Any:
    """Return records as mappings, as `asdict` does, without a copy of every cell of every column."""
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list) and value and is_dataclass(value[0]):
        return [_plain(item) for item in value]
    if isinstance(value, dict) and any(map(is_dataclass, value.values())):
        return {key: _plain(item) for key, item in value.items()}
    return value
