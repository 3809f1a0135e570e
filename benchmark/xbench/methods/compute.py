"""Call a method and check its map against what its description promises."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from xbench.case import Case
from xbench.description import MethodDescription, OwnMethod
from xbench.errors import Unsupported, UsageError, XbenchError
from xbench.fitting import Fitted
from xbench.maps import Layout
from xbench.models.protocol import NO_SPECTROGRAM, ModelInfo
from xbench.spec import Call


def compute_map(
    description: MethodDescription, call: Call, case: Case, fitted: Fitted | None = None
) -> Float32[np.ndarray, "token *cells"]:
    """Return the map of one method for a traced case: [token, frame] or [token, melframe, mel].

    Raises Unsupported when the method cannot explain this model, XbenchError when the map breaks
    the description (a bug of the method; UsageError where it is a function of the user's own).
    """
    check_supported(description, case.model.info)
    given = case.trace if description.takes == "trace" else case
    learned = {"fitted": fitted} if description.fit else {}
    values = description.load()(given, **call.given, **learned)
    if not isinstance(values, Tensor):
        raise _broken(
            description, call, f"returned a {type(values).__name__}, expected a torch tensor"
        )
    if values.is_complex():
        raise _broken(description, call, "returned complex numbers, expected real ones")
    array: np.ndarray = values.detach().float().cpu().numpy()
    _check(array, description, call, case.layout)
    return array


def check_supported(description: MethodDescription, info: ModelInfo) -> None:
    """Raise Unsupported, with the reason, for a method that asks for what the model does not have."""
    if description.families and info.family not in description.families:
        raise Unsupported(f"it supports {', '.join(description.families)}, not {info.family}")
    if info.kind not in description.kinds:
        raise Unsupported(
            f"it explains models of kind {', '.join(description.kinds)}; this model is of kind {info.kind}"
        )
    if description.space == "input" and not info.spectrogram:
        raise Unsupported(NO_SPECTROGRAM)
    for capture in sorted(description.needs & info.lacking.keys()):
        raise Unsupported(info.lacking[capture])


def _check(
    values: Float32[np.ndarray, "..."], description: MethodDescription, call: Call, axes: Layout
) -> None:
    rows = len(axes.tokens)
    in_encoder = description.space == "encoder"
    columns = axes.frames if in_encoder else axes.melframes
    if values.ndim != 3 - in_encoder or values.shape[:2] != (rows, columns):
        expected = f"[{rows}, {columns}{'' if in_encoder else ', mel'}]"
        raise _broken(
            description,
            call,
            f"returned a map of shape {list(values.shape)}, expected {expected}",
        )
    if not description.signed and (values < 0).any():
        raise _broken(
            description, call, "returned negative relevance but does not declare itself signed"
        )


def _broken(description: MethodDescription, call: Call, how: str) -> XbenchError:
    if isinstance(description, OwnMethod):
        return UsageError(f"function '{call}' {how}; see xbench.method for what it may declare")
    return XbenchError(f"method '{call}' {how}; this is a bug of the method")
