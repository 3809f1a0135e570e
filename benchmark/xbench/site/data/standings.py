"""Methods over several tasks and models, as the first page and the page of costs compare them, as a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xbench.results import column_name
from xbench.site.costs import significant
from xbench.site.data.results import SCHEMA
from xbench.site.overall import Overall, Standing


def standings_file(standings: Sequence[Overall]) -> dict[str, Any]:
    """Return, for each score shown, the cells (task, model) of its block and its methods, best first."""
    return {
        "schema": SCHEMA,
        "scores": {
            column_name(table.metric, table.reference): {
                "cells": [[task.slug, model.slug] for task, model in table.cells],
                "methods": {s.config.slug: _numbers(s) for s in table.standings},
            }
            for table in standings
        },
    }


def _numbers(standing: Standing) -> dict[str, Any]:
    return {
        "value": standing.value,
        "low": standing.low,
        "high": standing.high,
        "n": standing.n,
        "clusters": standing.n_clusters,
        "floor": standing.floor,
        "ceiling": standing.ceiling,
        "skill": standing.skill,
        "weighted": standing.weighted,
        "rank": standing.rank,
        "rank_low": standing.rank_low,
        "rank_high": standing.rank_high,
        "best": int(standing.best),
        "seconds": significant(standing.seconds),
        "passes": significant(standing.passes),
        "devices": list(standing.devices),
    }
