from __future__ import annotations

from typing import Any

import pytest

from xbench.description import MethodDescription, Parameter, indices, load_object
from xbench.errors import Unsupported, UsageError
from xbench.spec import Call, Scalar, canonical_json, content_hash, slug

# -- calls ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "params"),
    [
        ("mean-heads", "mean-heads", {}),
        ("raw-attention:layer=3,head=1", "raw-attention", {"layer": "3", "head": "1"}),
        ("raw-attention:layer=*,head=*", "raw-attention", {"layer": "*", "head": "*"}),
        ("dist:method", "dist:method", {}),
        ("dist:method:width=0.1", "dist:method", {"width": "0.1"}),
        ("spes-input:rates=400+500", "spes-input", {"rates": "400+500"}),
        ("m:a=b=c", "m", {"a": "b=c"}),
        ("m:a=1,", "m", {"a": "1"}),
    ],
)
def test_calls_are_read(text: str, name: str, params: dict[str, Scalar]) -> None:
    call = Call.parse(text)
    assert (call.name, call.given) == (name, params)
    assert Call.parse(str(call)) == call


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a name"),
        (":layer=1", "is not a name"),
        ("two words", "is not a name"),
        ("name,other", "is not a name"),
        ("layer=1", "is not a name"),
        ("m:layer=1,head", "'head' is not key=value"),
        ("m:layer=", "'layer=' is not key=value"),
        ("m:=1", "'=1' is not key=value"),
        ("m:layer=1,layer=2", "'layer' is given twice"),
    ],
)
def test_texts_that_are_no_calls_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Call.parse(text)


def test_the_order_of_parameters_does_not_matter() -> None:
    assert Call.parse("m:b=2,a=1") == Call.parse("m:a=1,b=2")
    assert str(Call.parse("m:b=2,a=1")) == "m:a=1,b=2"


def test_with_params_adds_and_replaces() -> None:
    call = Call.parse("m:a=1").with_params(a=2, b=True)
    assert str(call) == "m:a=2,b=true"


# -- parameters -----------------------------------------------------------------------------------

LAYER = Parameter("layer", "int", "a layer", required=True, minimum=0, maximum=5, sweep="layer")
WIDTH = Parameter("width", "float", "a width", default=0.1, minimum=0, maximum=1)
FLAG = Parameter("flag", "bool", "a flag", default=False)
MODE = Parameter("mode", "str", "a mode", default="slow", choices=("slow", "fast"))
LAYERS = Parameter("layers", "indices", "layers", default="all")
OPEN = Parameter("count", "int", "a count", minimum=1)


@pytest.mark.parametrize(
    ("parameter", "given", "expected"),
    [
        (LAYER, "3", 3),
        (LAYER, 3, 3),
        (LAYER, "*", "*"),
        (WIDTH, "0.25", 0.25),
        (WIDTH, "1e-3", 0.001),
        (WIDTH, 1, 1.0),
        (WIDTH, ".5", 0.5),
        (FLAG, "TRUE", True),
        (FLAG, False, False),
        (MODE, "fast", "fast"),
        (LAYERS, "0+2", "0+2"),
        (LAYERS, "all", "all"),
        (LAYERS, "last", "last"),
        (LAYERS, "lower-half", "lower-half"),
        (LAYERS, "upper-half", "upper-half"),
        (LAYERS, "10+2+010+0", "0+2+10"),
        (LAYERS, 3, "3"),
        (OPEN, "1000", 1000),
    ],
)
def test_values_become_the_parameters_type(
    parameter: Parameter, given: Scalar, expected: Scalar
) -> None:
    found = parameter.read(given, "m")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("parameter", "given", "message"),
    [
        (LAYER, "three", "m: 'layer=three' is not a whole number"),
        (LAYER, "3.0", "is not a whole number"),
        (LAYER, "", "is not a whole number"),
        (LAYER, True, "is not a whole number"),
        (LAYER, "-1", "must be >= 0 and <= 5"),
        (LAYER, "6", "must be >= 0 and <= 5"),
        (OPEN, "0", "must be >= 1$"),
        (OPEN, "*", "is not a whole number"),
        (WIDTH, "nan", "is not a number"),
        (WIDTH, "inf", "is not a number"),
        (WIDTH, "0,5", "is not a number"),
        (WIDTH, "1.01", "must be >= 0 and <= 1"),
        (FLAG, "yes", "is not true or false"),
        (MODE, "quick", "is not one of slow, fast"),
        (LAYERS, "0,2", r"is not all, last, lower-half, upper-half or indices joined by '\+'"),
        (LAYERS, "+1", "upper-half or indices joined by"),
        (LAYERS, "first", "upper-half or indices joined by"),
        (LAYERS, "last+0", "upper-half or indices joined by"),
        (LAYERS, "ALL", "upper-half or indices joined by"),
        (LAYERS, "*", "upper-half or indices joined by"),
    ],
)
def test_values_that_do_not_fit_are_refused(
    parameter: Parameter, given: Scalar, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        parameter.read(given, "m")


@pytest.mark.parametrize(
    ("chosen", "size", "expected"),
    [
        ("all", 3, [0, 1, 2]),
        ("last", 3, [2]),
        ("lower-half", 4, [0, 1]),
        ("upper-half", 4, [2, 3]),
        ("lower-half", 5, [0, 1, 2]),
        ("upper-half", 5, [2, 3, 4]),
        ("lower-half", 1, [0]),
        ("upper-half", 1, [0]),
        ("2+0", 3, [0, 2]),
        ("1+1", 3, [1]),
    ],
)
def test_indices_name_places_on_an_axis(chosen: str, size: int, expected: list[int]) -> None:
    assert indices("layer", chosen, size) == expected


def test_an_index_that_does_not_exist_is_unsupported() -> None:
    with pytest.raises(Unsupported, match=r"^head 4 does not exist: the decoder has heads 0 to 3$"):
        indices("head", "0+4", 4)


METHOD = MethodDescription(
    name="m",
    version="1",
    summary="a method",
    source="here",
    implementation="xbench.spec:slug",
    parameters=(LAYER, WIDTH),
    kind="control",
    distribution=True,
)


def test_a_resolved_call_has_every_parameter() -> None:
    assert METHOD.resolve(Call.parse("m:layer=2")) == Call.make("m", {"layer": 2, "width": 0.1})
    again = METHOD.resolve(METHOD.resolve(Call.parse("m:layer=2,width=0.5")))
    assert again.given == {"layer": 2, "width": 0.5}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("m", "m: parameter 'layer' is required: a layer"),
        ("m:layer=1,widht=1", "unknown parameter 'widht', did you mean 'width'"),
        ("m:layer=1,zzz=1", "it takes layer, width"),
    ],
)
def test_calls_that_do_not_fit_the_description_are_refused(call: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        METHOD.resolve(Call.parse(call))


def test_an_implementation_is_loaded_by_module_and_name() -> None:
    assert METHOD.load() is slug
    assert load_object("xbench.spec:slug") is slug


def test_all_built_in_implementations_load() -> None:
    from xbench import registry

    for group in registry.ALL:
        for entry in group.entries():
            assert entry.error is None
            assert callable(entry.description.load())  # type: ignore[union-attr]


# -- hashes ---------------------------------------------------------------------------------------


def test_equal_data_have_equal_hashes() -> None:
    assert content_hash({"a": 1, "b": [1, 2]}) == content_hash({"b": (1, 2), "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 1.5})
    assert len(content_hash(None)) == 64


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_data_that_have_no_text_have_no_hash(bad: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": bad})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Whisper Large", "whisper-large"),
        ("whisper:openai/whisper-tiny.en", "whisper-openai-whisper-tiny.en"),
        ("../..", "unnamed"),
        ("..hidden", "hidden"),
        ("", "unnamed"),
        ("a" * 100, "a" * 80),
    ],
)
def test_slugs_are_safe_file_names(text: str, expected: str) -> None:
    assert slug(text) == expected


@pytest.mark.parametrize("name", ["two words", "", "a:b", "a=1", "-a", "a/b"])
def test_a_name_that_no_command_can_say_is_a_problem(name: str) -> None:
    named = MethodDescription(name, "1", "", "", "a:b", kind="attention", distribution=True)
    assert named.problems() == [f"name is {name!r}, expected letters, digits, '-', '_' and '.'"]
