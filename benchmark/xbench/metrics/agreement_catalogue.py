"""The agreement metrics as the registry lists them."""

from __future__ import annotations

from xbench.description import MetricDescription, Parameter

PEARSON = MetricDescription(
    name="pearson",
    version="2",
    summary="correlation over time of each token's map with its reference (Pearson), the mean over tokens",
    source="the Pearson correlation of arXiv 2509.18010, with both maps z-scored per token",
    implementation="xbench.metrics.agreement:pearson",
    batched="xbench.metrics.pearson_batch:pearson_of_many",
    family="agreement",
    higher_is_better=True,
    range=(-1.0, 1.0),
    ceiling="xbench.references.reliability:ceiling_pearson",
    weighted_ceiling="xbench.references.reliability:weighted_ceiling_pearson",
)

PEARSON_PAPER = MetricDescription(
    name="pearson-paper",
    version="2",
    summary="correlation of the map z-scored per frame with the reference z-scored per token",
    source="Papi et al. 2025, Cross-Attention is Half Explanation, arXiv 2509.18010",
    implementation="xbench.metrics.agreement:pearson_paper",
    batched="xbench.metrics.pearson_batch:pearson_paper_of_many",
    family="agreement",
    higher_is_better=True,
    range=(-1.0, 1.0),
    ceiling="xbench.references.reliability:ceiling_pearson_paper",
    parameters=(
        Parameter(
            "rows",
            "str",
            "how rows are brought to one scale first: divided by the sum of their magnitudes, or z-scored",
            default="sum",
            choices=("sum", "z-score"),
        ),
    ),
)

# No formula is known that says how far noise in the reference lowers these; a ceiling is not guessed.
_NO_THEORY = "no-theory-for-this-metric"

_SHARE = Parameter(
    "share",
    "float",
    "share of the valid frames that counts as the top, rounded to frames, at least one",
    default=0.1,
    minimum=0.0,
    maximum=0.5,
)
_LABELS = Parameter(
    "labels",
    "str",
    "which frames are relevant: the top `share` of the reference, or those of the token's word",
    default="reference",
    choices=("reference", "words"),
)

SPEARMAN = MetricDescription(
    name="spearman",
    version="1",
    summary="rank correlation with the reference, mean over tokens",
    source="Spearman 1904, The Proof and Measurement of Association between Two Things",
    implementation="xbench.metrics.ranking:spearman",
    batched="xbench.metrics.ranking:spearman_of_many",
    family="agreement",
    higher_is_better=True,
    range=(-1.0, 1.0),
    no_ceiling=_NO_THEORY,
)

KENDALL_TAU_B = MetricDescription(
    name="kendall-tau-b",
    version="1",
    summary="concordant minus discordant pairs of frames, corrected for ties, mean over tokens",
    source="Kendall 1945, The Treatment of Ties in Ranking Problems",
    implementation="xbench.metrics.ranking:kendall_tau_b",
    batched="xbench.metrics.ranking:kendall_tau_b_of_many",
    family="agreement",
    higher_is_better=True,
    range=(-1.0, 1.0),
    no_ceiling=_NO_THEORY,
)

COSINE = MetricDescription(
    name="cosine",
    version="2",
    summary="cosine of the two rows of mass, not centred, mean over tokens",
    source="standard",
    implementation="xbench.metrics.distance:cosine",
    batched="xbench.metrics.distance:cosine_of_many",
    family="agreement",
    higher_is_better=True,
    range=(0.0, 1.0),
    no_ceiling=_NO_THEORY,
)

JS_DIVERGENCE = MetricDescription(
    name="js-divergence",
    version="2",
    summary="Jensen-Shannon divergence of the two rows of mass, mean over tokens",
    source="Lin 1991, Divergence Measures Based on the Shannon Entropy",
    implementation="xbench.metrics.distance:js_divergence",
    batched="xbench.metrics.distance:js_divergence_of_many",
    family="agreement",
    higher_is_better=False,
    range=(0.0, 1.0),
    unit="bit",
    no_ceiling=_NO_THEORY,
)

EMD = MetricDescription(
    name="emd",
    version="2",
    summary="how far mass must move along time to become the reference, mean over tokens",
    source="Rubner, Tomasi and Guibas 2000; in one dimension Vallender 1974",
    implementation="xbench.metrics.distance:emd",
    batched="xbench.metrics.distance:emd_of_many",
    family="agreement",
    higher_is_better=False,
    range=(0.0, None),
    unit="s",
    no_ceiling=_NO_THEORY,
)

FRONTIER_ERROR = MetricDescription(
    name="frontier-error",
    version="1",
    summary="distance between the highest frames of map and reference, mean over tokens",
    source="ours; the highest frame is what AlignAtt reads, Papi et al. 2023, arXiv 2305.11408",
    implementation="xbench.metrics.distance:frontier_error",
    batched="xbench.metrics.distance:frontier_error_of_many",
    family="agreement",
    higher_is_better=False,
    range=(0.0, None),
    unit="s",
    no_ceiling=_NO_THEORY,
)

TOPK_OVERLAP = MetricDescription(
    name="topk-overlap",
    version="1",
    summary="share of the top frames that map and reference have in common, mean over tokens",
    source="feature agreement, Krishna et al. 2022, The Disagreement Problem, arXiv 2202.01602",
    implementation="xbench.metrics.ranking:topk_overlap",
    batched="xbench.metrics.ranking:topk_overlap_of_many",
    family="agreement",
    higher_is_better=True,
    range=(0.0, 1.0),
    no_ceiling=_NO_THEORY,
    parameters=(_SHARE,),
)

TOPK_IOU = MetricDescription(
    name="topk-iou",
    version="1",
    summary="top frames of both over top frames of either, mean over tokens",
    source="Jaccard 1901, Etude comparative de la distribution florale",
    implementation="xbench.metrics.ranking:topk_iou",
    batched="xbench.metrics.ranking:topk_iou_of_many",
    family="agreement",
    higher_is_better=True,
    range=(0.0, 1.0),
    no_ceiling=_NO_THEORY,
    parameters=(_SHARE,),
)

AUROC = MetricDescription(
    name="auroc",
    version="1",
    summary="chance that a relevant frame is ranked above another one, mean over tokens",
    source="Hanley and McNeil 1982, The Meaning and Use of the Area under a ROC Curve",
    implementation="xbench.metrics.ranking:auroc",
    batched="xbench.metrics.ranking:auroc_of_many",
    family="agreement",
    higher_is_better=True,
    range=(0.0, 1.0),
    no_ceiling=_NO_THEORY,
    needs=frozenset({"words"}),
    parameters=(_LABELS, _SHARE),
)

AUPRC = MetricDescription(
    name="auprc",
    version="1",
    summary="average precision of finding the relevant frames, mean over tokens",
    source="Davis and Goadrich 2006; for rationales DeYoung et al. 2020, arXiv 1911.03429",
    implementation="xbench.metrics.ranking:auprc",
    batched="xbench.metrics.ranking:auprc_of_many",
    family="agreement",
    higher_is_better=True,
    range=(0.0, 1.0),
    no_ceiling=_NO_THEORY,
    needs=frozenset({"words"}),
    parameters=(_LABELS, _SHARE),
)

RELEVANCE_MASS = MetricDescription(
    name="relevance-mass",
    version="2",
    summary="share of the map's mass on relevant frames, mean over tokens",
    source="relevance mass accuracy, Arras, Osman and Samek 2022 (CLEVR-XAI), arXiv 2003.07258",
    implementation="xbench.metrics.distance:relevance_mass",
    batched="xbench.metrics.distance:relevance_mass_of_many",
    family="agreement",
    higher_is_better=True,
    range=(0.0, 1.0),
    no_ceiling=_NO_THEORY,
    needs=frozenset({"words"}),
    parameters=(_LABELS, _SHARE),
)

RELEVANCE_RANK = MetricDescription(
    name="relevance-rank",
    version="1",
    summary="share of the n highest frames that are relevant, n of them being so, mean over tokens",
    source="relevance rank accuracy, Arras, Osman and Samek 2022 (CLEVR-XAI), arXiv 2003.07258",
    implementation="xbench.metrics.ranking:relevance_rank",
    batched="xbench.metrics.ranking:relevance_rank_of_many",
    family="agreement",
    higher_is_better=True,
    range=(0.0, 1.0),
    no_ceiling=_NO_THEORY,
    needs=frozenset({"words"}),
    parameters=(_LABELS, _SHARE),
)

ONSET_ERROR = MetricDescription(
    name="onset-error",
    version="2",
    summary="distance between where the map points and where the word starts, mean over words",
    source="ours; attention as timestamps is whisper-timestamped's and Radford et al.'s use of it",
    implementation="xbench.metrics.timing:onset_error",
    batched="xbench.metrics.timing:onset_error_of_many",
    family="agreement",
    higher_is_better=False,
    range=(0.0, None),
    unit="s",
    no_ceiling="not-against-the-reference",
    needs=frozenset({"words"}),
    parameters=(
        Parameter(
            "point",
            "str",
            "where a row points: the start of its highest run of frames, its highest frame, the centroid of its mass",
            default="start",
            choices=("start", "peak", "centroid"),
        ),
    ),
)
