"""xbench: how faithful are attention-based explanations of speech-to-text models?

    import xbench
    spec = xbench.RunSpec(model="whisper:FOLDER", methods="mean-heads", tasks="asr", data="MANIFEST.jsonl")
    results = xbench.evaluate(spec)

A loaded model may stand for its name, and a function for a method (`xbench.method`):

    def last_layer(trace):
        return trace.cross_attention[-1].mean(0)

    model = xbench.load_model("whisper:FOLDER")
    xbench.explain("clip.wav", model, last_layer)
    xbench.evaluate(xbench.RunSpec(model=model, methods=["mean-heads", last_layer], tasks="demo-asr-en"))

Names are loaded on first use, so that `import xbench` imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xbench.case import Case as Case
    from xbench.description import FamilyDescription as FamilyDescription
    from xbench.description import MethodDescription as MethodDescription
    from xbench.description import MetricDescription as MetricDescription
    from xbench.description import Parameter as Parameter
    from xbench.description import ReferenceDescription as ReferenceDescription
    from xbench.errors import Unsupported as Unsupported
    from xbench.errors import UsageError as UsageError
    from xbench.errors import UtteranceError as UtteranceError
    from xbench.maps import Layout as Layout
    from xbench.metrics import Score as Score
    from xbench.models.loading import load_model as load_model
    from xbench.models.optional import FreezesPadding as FreezesPadding
    from xbench.models.optional import Inspectable as Inspectable
    from xbench.models.optional import RandomisesParts as RandomisesParts
    from xbench.models.optional import ShowsAttention as ShowsAttention
    from xbench.models.optional import ShowsNetwork as ShowsNetwork
    from xbench.models.optional import TakesNetwork as TakesNetwork
    from xbench.models.optional import WritesEncoded as WritesEncoded
    from xbench.models.protocol import Features as Features
    from xbench.models.protocol import Hypothesis as Hypothesis
    from xbench.models.protocol import ModelInfo as ModelInfo
    from xbench.models.protocol import SpeechModel as SpeechModel
    from xbench.references.reference import Reference as Reference
    from xbench.results import RunResult as RunResult
    from xbench.results import load_results as load_results
    from xbench.runner.clip import explain as explain
    from xbench.runner.evaluate import evaluate as evaluate
    from xbench.runner.explanation import Explanation as Explanation
    from xbench.runner.outside import score_maps as score_maps
    from xbench.runner.own import method as method
    from xbench.spec import Call as Call
    from xbench.spec import ExecutionOptions as ExecutionOptions
    from xbench.spec import RunSpec as RunSpec
    from xbench.spec import Selection as Selection
    from xbench.trace import Trace as Trace

_HOMES = {
    # runs
    "Call": "xbench.spec",
    "ExecutionOptions": "xbench.spec",
    "Explanation": "xbench.runner.explanation",
    "RunResult": "xbench.results",
    "RunSpec": "xbench.spec",
    "Selection": "xbench.spec",
    "evaluate": "xbench.runner.evaluate",
    "explain": "xbench.runner.clip",
    "load_model": "xbench.models.loading",
    "load_results": "xbench.results",
    "method": "xbench.runner.own",
    "score_maps": "xbench.runner.outside",
    # what plugins are written with
    "Case": "xbench.case",
    "FamilyDescription": "xbench.description",
    "Features": "xbench.models.protocol",
    "Hypothesis": "xbench.models.protocol",
    "Layout": "xbench.maps",
    "MethodDescription": "xbench.description",
    "MetricDescription": "xbench.description",
    "ModelInfo": "xbench.models.protocol",
    "Parameter": "xbench.description",
    "Reference": "xbench.references.reference",
    "ReferenceDescription": "xbench.description",
    "Score": "xbench.metrics",
    "SpeechModel": "xbench.models.protocol",
    "Trace": "xbench.trace",
    "Unsupported": "xbench.errors",
    "UsageError": "xbench.errors",
    "UtteranceError": "xbench.errors",
    # what a model may offer beyond SpeechModel
    "FreezesPadding": "xbench.models.optional",
    "Inspectable": "xbench.models.optional",
    "RandomisesParts": "xbench.models.optional",
    "ShowsAttention": "xbench.models.optional",
    "ShowsNetwork": "xbench.models.optional",
    "TakesNetwork": "xbench.models.optional",
    "WritesEncoded": "xbench.models.optional",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'xbench' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
