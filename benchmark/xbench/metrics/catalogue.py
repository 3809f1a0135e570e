"""The agreement metrics as the registry lists them."""

from __future__ import annotations

from xbench.description import MetricDescription

PEARSON = MetricDescription(
    name="pearson",
    version="1",
    summary="correlation with the reference, both z-scored per token (mean per-token Pearson)",
    source="the Pearson correlation of arXiv 2509.18010, with both maps z-scored per token",
    implementation="xbench.metrics.agreement:pearson",
    family="agreement",
    higher_is_better=True,
    range=(-1.0, 1.0),
    ceiling="xbench.references.reliability:ceiling_pearson",
)

PEARSON_PAPER = MetricDescription(
    name="pearson-paper",
    version="1",
    summary="correlation of the map z-scored per frame with the reference z-scored per token",
    source="Papi et al. 2025, Cross-Attention is Half Explanation, arXiv 2509.18010",
    implementation="xbench.metrics.agreement:pearson_paper",
    family="agreement",
    higher_is_better=True,
    range=(-1.0, 1.0),
    ceiling="xbench.references.reliability:ceiling_pearson_paper",
)
