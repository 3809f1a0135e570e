"""Contract batteries: what built-ins and plugins must both pass. For use in tests and by `xbench check`."""

from xbench.testing.methods import CheckResult, check_method, demo_cases
from xbench.testing.metrics import check_metric

__all__ = ["CheckResult", "check_method", "check_metric", "demo_cases"]
