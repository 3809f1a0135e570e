"""How what is described is called: whether its functions take the call, and calls with every parameter filled in."""

from __future__ import annotations

from collections.abc import Mapping

from xbench.description import Description, Parameter
from xbench.signatures import signature_problems
from xbench.spec import Call, Scalar
from xbench.testing.battery import Broken

MISFIT = "the description does not fit the function it names"


def check_signature(description: Description) -> None:
    """Refuse a description whose parameters are not the keywords of the function it names."""
    if found := signature_problems(description):
        raise Broken("; ".join(found))


def completed(
    description: Description, call: Call, values: Mapping[str, Scalar] | None = None
) -> Call:
    """Return the call with every parameter checked, defaults filled in, and a value for each required one.

    values: what to take for parameters that the call does not give; a required one that is not among them
    gets its first choice or its smallest value.
    Raises UsageError for a parameter or value that the description does not allow.
    """
    given = call.given
    filled = {
        p.name: _some_value(p) for p in description.parameters if p.required and p.name not in given
    }
    wanted = {name: value for name, value in (values or {}).items() if name not in given}
    return description.resolve(call.with_params(**{**filled, **wanted}))


def _some_value(parameter: Parameter) -> Scalar:
    if parameter.choices:
        return parameter.choices[0]
    of_type: dict[str, Scalar] = {"bool": True, "str": "all", "indices": "all"}
    return of_type.get(parameter.type, int(parameter.minimum or 0))
