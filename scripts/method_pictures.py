"""Draw one example of every built-in method for its page in docs/methods.

python scripts/method_pictures.py [NAME ...]     writes docs/images/methods/NAME.png

The clip is packaged, the model is xbench-tiny (for methods that explain decoder-only models alone, its sibling), the
task is translation into English. Methods that need other utterances or word times have no picture.
"""

from __future__ import annotations

import sys
from pathlib import Path

from xbench import registry
from xbench.data.demo import demo_manifest
from xbench.errors import UsageError
from xbench.plot.explanation import save_explanation
from xbench.runner.clip import explain
from xbench.spec import Call

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images" / "methods"
CLIP = demo_manifest("test").parent / "audio" / "de-0001.flac"


def example(name: str) -> Call:
    """Return the method with a value for every required parameter: the last layer's first head."""
    required = {"layer": 1, "head": 0}
    description = registry.methods.get(name)
    return Call.make(name, {p.name: required[p.name] for p in description.parameters if p.required})


def model(name: str) -> str:
    """Return the packaged model that the method can explain."""
    both = "encoder-decoder" in registry.methods.get(name).kinds
    return "xbench-tiny" if both else "xbench-tiny-lm"


def main() -> None:
    """Draw the methods named on the command line, or all built-in ones."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    built_in = [e.name for e in registry.methods.entries() if e.distribution == "xbench"]
    for name in sys.argv[1:] or built_in:
        try:
            drawn = explain(CLIP, model(name), example(name), language="de", target_language="en")
        except UsageError as reason:
            print(f"{name}: no picture: {reason}")
            continue
        save_explanation(drawn, str(FOLDER / f"{name}.png"), dpi=60)
        print(name)


if __name__ == "__main__":
    main()
