"""The benchmarks can be imported: nothing checks their types, and they run too long to be run here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PERF = Path(__file__).parents[1] / "perf"


def test_every_benchmark_imports() -> None:
    names = sorted(path.stem for path in PERF.glob("*.py"))
    assert "reference_speed" in names
    names.sort(key="significance".__eq__)  # last: it takes the folder off the path
    code = f"import sys; sys.path.insert(0, {str(PERF)!r}); import {', '.join(names)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
