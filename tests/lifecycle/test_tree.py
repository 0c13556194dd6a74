from __future__ import annotations

import collections
import dataclasses
import enum
import json
import random
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.lifecycle import skeletons, targets, tree

Point = collections.namedtuple("Point", ["x", "y"])


@dataclasses.dataclass
class Layer:
    w: Any
    b: Any = None


class Module:
    """Speaks PyTorch's protocol."""

    def __init__(self, weight: Any) -> None:
        self.weight = weight

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight = state["weight"]


def through(state: Any) -> Any:
    """The state as it is rebuilt from what goes into a bundle."""
    flat = tree.flatten(state)
    return skeletons.unflatten(flat.skeleton, flat.arrays)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and one.tolist() == other.tolist()
        )
    if isinstance(one, dict):
        return (
            type(other) is type(one)
            and list(one) == list(other)
            and all(same(one[key], other[key]) for key in one)
        )
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(
    "state",
    [
        {"w": np.arange(6.0).reshape(2, 3), "b": np.zeros(0, np.int8)},
        {"layer1/w": np.ones(2, ml_dtypes.bfloat16), "layer1/b": np.float32(2.5)},
        {
            "step": 7,
            "lr": 0.1,
            "on": True,
            "z": 1 + 2j,
            "name": "dé",
            "raw": b"\0\xff",
            "none": None,
        },
        {"big": 2**200, "negative": -(2**70), "edge": 2**63 - 1, "past": 2**63},
        {"list": [np.zeros(1), [1, (2, 3)], ()], "empty": {}, "nested": {"a": {"b": []}}},
        {"by_id": {0: np.ones(1), 1: {"m": 2.0}, "x": 3}},
        {"counts": collections.Counter({2: 1, 5: 2}), "none": collections.Counter()},
        {"words": np.array(["a", "déjà", ""]), "bytes": np.array([b"a", b""], object)},
        np.arange(3),
        [1, 2],
        5,
        {},
    ],
)
def test_a_state_comes_back_as_it_was(state: Any) -> None:
    assert same(state, through(state))


def test_names_are_paths() -> None:
    state = {
        "model": {"layers": [Layer(np.zeros(1), np.zeros(2)), Layer(np.zeros(3))]},
        "p": Point(1, 2),
    }
    assert list(tree.flatten(state).arrays) == [
        "model/layers/0/w",
        "model/layers/0/b",
        "model/layers/1/w",
        "p/x",
        "p/y",
    ]
    assert list(tree.flatten(np.zeros(1)).arrays) == ["state"]


def test_an_object_gives_its_state_dict() -> None:
    flat = tree.flatten({"net": Module(np.ones(2))})
    assert list(flat.arrays) == ["net/weight"]
    assert list(skeletons.unflatten(flat.skeleton, flat.arrays)["net"]) == ["weight"]


@pytest.mark.parametrize(
    "generator",
    [
        np.random.default_rng(1),
        np.random.RandomState(1),
        np.random.Generator(np.random.MT19937(3)),
        np.random.Philox(5),
    ],
)
def test_a_random_generator_is_a_state(generator: Any) -> None:
    flat = tree.flatten({"rng": generator})
    restored = skeletons.unflatten(flat.skeleton, flat.arrays)["rng"]
    draw = getattr(generator, "random_raw", None) or generator.random
    expected = draw()
    tree.set_random_state(generator, restored)
    assert draw() == expected


class Frame(type("DataFrame", (), {"__module__": "pandas.core.frame"})):  # type: ignore[misc]
    """Known as the real one is, by name."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        return np.zeros((2, 2))


class Part(str, enum.Enum):
    BODY = "body"


class Position(enum.IntEnum):
    FIRST = 1


def test_members_of_enums_are_keys_by_their_values() -> None:
    state = {Part.BODY: {"w": np.ones(1)}, Position.FIRST: 2, "n": {Part.BODY: 3}}
    assert list(tree.flatten(state).arrays) == ["body/w", "1", "n/body"]
    assert same(through(state), {"body": {"w": np.ones(1)}, 1: 2, "n": {"body": 3}})


@pytest.mark.parametrize("text", ["a\0", "\0", "a\0b\0\0"])
def test_no_nul_at_the_end_of_a_string_is_lost(text: str) -> None:
    raw = text.encode()
    state = {
        "str": text,
        "bytes": raw,
        "scalar": np.str_(text),
        "raw scalar": np.bytes_(raw),
        "texts": np.array([text, ""], object),
        "raw": np.array([raw, b""], object),
    }
    found = through(state)
    assert [found["texts"].tolist(), found["raw"].tolist()] == [[text, ""], [raw, b""]]
    assert [found["str"], found["bytes"]] == [text, raw]
    assert [found["scalar"], found["raw scalar"]] == [text, raw]


def test_strings_of_very_different_lengths_take_no_more_memory_than_they_have() -> None:
    texts = np.array(["x" * 100_000] + [""] * 200_000, object)  # 80 GB as an array of fixed width
    found = through({"texts": texts})["texts"]
    assert found.dtype == object
    assert np.array_equal(found, texts)
    target = {"texts": np.array([""] * texts.size)}
    result = targets.fill_leaf(target["texts"], texts)
    assert np.array_equal(result, texts)


@pytest.mark.skipif(
    not hasattr(getattr(np, "dtypes", None), "StringDType"),
    reason="cannot run here: NumPy 1 has no such dtype",
)
@pytest.mark.parametrize("missing", [None, np.nan])
def test_a_missing_string_is_not_stored_as_text(missing: Any) -> None:
    dtype = np.dtypes.StringDType(na_object=missing)
    with pytest.raises(errors.UnsupportedLeaf, match=r"'names' .* a string is missing"):
        through({"names": np.array(["a", missing], dtype)})


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"a": object()}, errors.UnsupportedLeaf, r"leaf 'a' cannot be saved: .* found object"),
        ({"a": {1, 2}}, errors.UnsupportedLeaf, r"leaf 'a' .* found set"),
        ({"a": {"b": print}}, errors.UnsupportedLeaf, r"leaf 'a/b' .* found builtin_function"),
        ({"a": random.Random(1)}, errors.UnsupportedLeaf, r"leaf 'a' .* found random.Random"),
        ({"a": Module}, errors.UnsupportedLeaf, r"leaf 'a' .* found type"),
        ({"d": np.array(["2020"], "M8[D]")}, errors.UnsupportedLeaf, r"leaf 'd' .* datetime64"),
        ({"o": np.array([1, "x"], object)}, errors.UnsupportedLeaf, r"'o' .* found int and str"),
        ({"m": np.ma.zeros(2)}, errors.UnsupportedLeaf, r"leaf 'm' .* masked array"),
        ({"f": Frame()}, errors.UnsupportedLeaf, r"leaf 'f' .* no place for the labels of .*Frame"),
        ({"s": "\ud800"}, errors.UnsupportedLeaf, r"leaf 's' .* not valid Unicode"),
        ({"a": {"b": 1}, "a/b": 2}, errors.DuplicateName, r"two leaves .* name 'a/b'"),
        ({1: 0, "1": 0}, errors.DuplicateName, r"two leaves .* name '1'"),
        (
            {("a", 1): 0},
            errors.UnsupportedLeaf,
            r"a dict key must be a str or an int, found \('a', 1\)",
        ),
        ({"": 0}, errors.InvalidName, r"must not be empty"),
        ({"\ud800": 0}, errors.InvalidName, r"not valid Unicode"),
        ({"\0a": 0}, errors.InvalidName, r"begins with NUL"),
        ({"_CHECKPOINTABLE_OBJECT_GRAPH": 0}, errors.InvalidName, r"is reserved"),
        ({"_CKPTMGR_METADATA": 0}, errors.InvalidName, r"is reserved"),
    ],
)
def test_what_cannot_be_saved_is_named(state: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tree.flatten(state)


def test_a_state_that_contains_itself_is_refused() -> None:
    state: dict[str, Any] = {}
    state["self"] = state
    with pytest.raises(errors.UnsupportedLeaf, match="does it contain itself"):
        tree.flatten(state)


@pytest.mark.parametrize(
    "skeleton",
    [
        {"dict": 5},
        {"list": {}},
        {"what": []},
        5,
        None,
        {"dict": [["a", "array"]]},
        {"fields": [["a", "array"]]},
        {"items": 5},
        {"items": {"a": "array"}},
        {"items": [["a"]]},
        {"items": [[[], "array"]]},
        {"versioned": 5},
        {"versioned": [{}]},
        {"versioned": [[], {"dict": {}}]},
        {"versioned": [{}, {"list": []}]},
        {"counter": "none"},
        {"counter": {"list": []}},
        {},
    ],
)
def test_what_is_no_skeleton(skeleton: Any) -> None:
    with pytest.raises(errors.MalformedMetadata):
        skeletons.unflatten(skeleton, {})


def test_a_skeleton_nested_without_end_is_refused() -> None:
    skeleton: Any = "array"
    for _ in range(5000):
        skeleton = {"object": skeleton}
    with pytest.raises(errors.MalformedMetadata):
        skeletons.unflatten(skeleton, {})


def test_versions_of_versions_without_end_are_refused() -> None:
    skeleton: Any = {"dict": {}}
    for _ in range(400):
        skeleton = {"versioned": [{}, skeleton]}
    for read in (skeletons.kind_of, skeletons.parts, skeletons.leaf_kinds):
        with pytest.raises(errors.MalformedMetadata):
            read(skeleton)


@pytest.mark.parametrize(
    ("kind", "array"),
    [
        ("int", np.zeros(3)),
        ("int", np.array(1.5)),
        ("str", np.array(b"\xff", object)),
        ("bigint", np.array(b"12x", object)),
        ("bool", np.array(2)),
        ("array:str", np.array([b"\xff"], object)),
        ("what", np.array(1)),
    ],
)
def test_a_tensor_that_is_not_of_its_kind(kind: str, array: Any) -> None:
    with pytest.raises(errors.MalformedMetadata):
        skeletons.unflatten({"dict": {"a": kind}}, {"a": array})


def test_a_key_that_is_not_unicode_is_refused_also_above_no_leaf() -> None:
    with pytest.raises(errors.InvalidName, match="not valid Unicode"):
        tree.flatten({"\ud800": {}})


def test_the_versions_of_a_state_dict_come_back() -> None:
    state = collections.OrderedDict({"w": 1})
    state._metadata = {"": {"version": 2, "other": object()}, "a": {"version": None}}  # type: ignore[attr-defined]
    skeleton = json.loads(json.dumps(tree.flatten({"model": state}).skeleton))
    found = skeletons.unflatten(skeleton, {"model/w": np.asarray(1)})["model"]
    assert found == {"w": 1}
    assert found._metadata == {"": {"version": 2}, "a": {"version": None}}
    assert skeletons.kind_of(skeletons.parts(skeleton)[("model",)]) == "dict"
    assert list(skeletons.leaf_names(skeleton)) == ["model/w"]
    assert skeletons.parts(skeleton)[("model", "w")] == "int"
