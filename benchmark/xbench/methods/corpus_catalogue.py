"""Descriptions of the methods that look beyond their own utterance or model (torch-free)."""

from __future__ import annotations

from xbench.description import MethodDescription, Parameter

_SEED = Parameter("seed", "int", "seed of the initialisation", default=0, minimum=0)
_METHOD = Parameter("method", "str", "the method whose map is taken, by name", default="mean-heads")
_IGNORES = "everything before the encoder output and everything after the attention weights"

BEST_HEAD = MethodDescription(
    name="best-head",
    version="1",
    summary="cross-attention of the head with the best headline score on the dev split",
    source="Papi et al. 2025, arXiv 2509.18010, section 4",
    implementation="xbench.methods.corpus:best_head",
    fit="xbench.methods.corpus:fit_best_head",
    kind="attention",
    distribution=True,
    ignores=_IGNORES,
    cost="1 forward, and the references of the dev split once",
)
TOP_K_HEADS = MethodDescription(
    name="top-k-heads",
    version="1",
    summary="mean cross-attention of the k heads with the best headline score on the dev split",
    source="Papi et al. 2025, arXiv 2509.18010, section 4",
    implementation="xbench.methods.corpus:top_k_heads",
    fit="xbench.methods.corpus:fit_heads",
    parameters=(Parameter("k", "int", "number of heads", default=3, minimum=1),),
    kind="attention",
    distribution=True,
    ignores=_IGNORES,
    cost="1 forward, and the references of the dev split once",
)
GREEDY_HEADS = MethodDescription(
    name="greedy-heads",
    version="1",
    summary="mean cross-attention of the set of heads that agrees best on dev, grown head by head",
    source="ours; forward selection",
    implementation="xbench.methods.corpus:greedy_heads",
    fit="xbench.methods.corpus:fit_greedy_heads",
    parameters=(Parameter("k", "int", "number of heads at most", default=10, minimum=1),),
    kind="attention",
    distribution=True,
    ignores=_IGNORES,
    cost="1 forward, and the references of the dev split once",
)
CORPUS_MEAN = MethodDescription(
    name="corpus-mean",
    version="1",
    summary="mean dev reference by token rank and relative time (control)",
    source="control",
    implementation="xbench.methods.corpus:corpus_mean",
    fit="xbench.methods.corpus:fit_corpus_mean",
    kind="control",
    distribution=True,
    cost="none, and the references of the dev split once",
    ignores="everything about this utterance but its number of tokens and frames",
)
SHUFFLED = MethodDescription(
    name="shuffled",
    version="1",
    summary="a method's map of another utterance, stretched to this one (control)",
    source="control",
    implementation="xbench.methods.corpus:shuffled",
    parameters=(_METHOD,),
    kind="control",
    distribution=True,
    takes="case",
    needs=frozenset({"partner"}),
    cost="1 forward on the other utterance",
    ignores="everything about this utterance but its number of tokens and frames",
)
RANDOMISED_MODEL = MethodDescription(
    name="randomised-model",
    version="1",
    summary="a method's map from re-initialised weights (control)",
    source="Adebayo et al. 2018, arXiv 1810.03292",
    implementation="xbench.methods.corpus:randomised_model",
    parameters=(_METHOD, _SEED),
    kind="control",
    distribution=True,
    takes="case",
    cost="1 forward of the re-initialised model",
    ignores="everything the model has learned",
)
