"""Contract batteries: what built-ins and plugins must both pass. For use in tests and by `xbench check`."""

from xbench.testing.battery import CheckResult, problems
from xbench.testing.datasets import check_dataset
from xbench.testing.demo_clips import demo_cases
from xbench.testing.methods import check_method
from xbench.testing.metrics import check_metric
from xbench.testing.models import check_model
from xbench.testing.references import check_reference
from xbench.testing.tasks import check_task

__all__ = [
    "CheckResult",
    "check_dataset",
    "check_method",
    "check_metric",
    "check_model",
    "check_reference",
    "check_task",
    "demo_cases",
    "problems",
]
