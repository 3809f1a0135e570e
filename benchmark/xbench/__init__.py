"""xbench: how faithful are attention-based explanations of speech-to-text models?

    import xbench
    spec = xbench.RunSpec(model="whisper:FOLDER", methods=(xbench.Call("mean-heads"),),
                          tasks=("asr",), data="MANIFEST.jsonl")
    results = xbench.evaluate(spec)

Names are loaded on first use, so that `import xbench` imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xbench.models.loading import load_model as load_model
    from xbench.results import RunResult as RunResult
    from xbench.results import load_results as load_results
    from xbench.runner.clip import Explanation as Explanation
    from xbench.runner.clip import explain as explain
    from xbench.runner.evaluate import evaluate as evaluate
    from xbench.spec import Call as Call
    from xbench.spec import ExecutionOptions as ExecutionOptions
    from xbench.spec import RunSpec as RunSpec
    from xbench.spec import Selection as Selection

_HOMES = {
    "Call": "xbench.spec",
    "ExecutionOptions": "xbench.spec",
    "RunResult": "xbench.results",
    "RunSpec": "xbench.spec",
    "Selection": "xbench.spec",
    "Explanation": "xbench.runner.clip",
    "evaluate": "xbench.runner.evaluate",
    "explain": "xbench.runner.clip",
    "load_model": "xbench.models.loading",
    "load_results": "xbench.results",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'xbench' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
