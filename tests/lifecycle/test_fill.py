from __future__ import annotations

import collections
import dataclasses
import enum
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.lifecycle import fill, leaves, tree

Point = collections.namedtuple("Point", ["x", "y"])


class Module:
    """Speaks PyTorch's protocol."""

    def __init__(self, weight: Any) -> None:
        self.weight = weight

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight = state["weight"]


def stored(state: Any, *, recorded: bool = True) -> tuple[fill.Stored, dict[str, Any]]:
    flat = tree.flatten(state)
    tensors = {
        name: fill.StoredTensor(array.shape, array.dtype) for name, array in flat.arrays.items()
    }
    copies = {name: array.copy() for name, array in flat.arrays.items()}
    return fill.Stored("run/m-1", tensors, flat.skeleton if recorded else None), copies


def restore(target: Any, state: Any, names: Any = None, *, recorded: bool = True) -> Any:
    """Put what a checkpoint of `state` would hold into `target`."""
    found, values = stored(state, recorded=recorded)
    plan = fill.plan(target, found, names)
    return plan.apply({source: values[source] for source in plan.sources.values()})


def test_arrays_are_filled_in_place() -> None:
    w = np.zeros((2, 2))
    target = {"layer": {"w": w}, "b": [np.zeros(1)]}
    result = restore(target, {"layer": {"w": np.eye(2)}, "b": [np.ones(1)]})
    assert result is target
    assert target["layer"]["w"] is w
    assert w.tolist() == [[1, 0], [0, 1]]


class Variable:
    """Holds an array, as the variables of TensorFlow and Keras do."""

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.value, dtype)

    def assign(self, value: Any) -> None:
        self.value = np.asarray(value)


def test_a_variable_of_a_model_is_not_left_as_it_was() -> None:
    model = [Variable([0.0, 0.0]), Variable(np.zeros(20_000))]
    result = restore({"v": model}, {"v": [np.ones(2), np.full(20_000, 2.0)]})
    assert result["v"] is model
    assert [variable.value.sum() for variable in model] == [2, 40_000]


def test_numbers_are_replaced_where_they_stand() -> None:
    target = {"step": 0, "hyper": [0.5, "sgd"], "done": False}
    result = restore(target, {"step": 9, "hyper": [0.25, "adam"], "done": True})
    assert result is target
    assert target == {"step": 9, "hyper": [0.25, "adam"], "done": True}


def test_tuples_are_rebuilt_and_dataclasses_changed() -> None:
    @dataclasses.dataclass
    class Mutable:
        n: int

    @dataclasses.dataclass(frozen=True)
    class Frozen:
        n: int

    mutable, target = Mutable(0), {"t": (0, 1), "p": Point(0, 0), "f": Frozen(0)}
    target["m"] = mutable
    restore(target, {"t": (5, 6), "p": Point(7, 8), "f": Frozen(9), "m": Mutable(4)})
    assert (target["t"], target["p"], target["f"]) == ((5, 6), Point(7, 8), Frozen(9))
    assert mutable.n == 4


def test_a_read_only_array_is_replaced() -> None:
    frozen = np.zeros(2)
    frozen.flags.writeable = False
    target = {"w": frozen}
    restore(target, {"w": np.ones(2)})
    assert target["w"].tolist() == [1, 1]
    assert frozen.tolist() == [0, 0]


def test_an_object_gets_back_what_its_state_dict_had() -> None:
    # A fresh optimizer has no moments yet; the checkpoint's structure counts.
    module = Module({})
    restore({"m": module}, {"m": Module({0: {"exp_avg": np.ones(2)}})})
    assert list(module.weight) == [0]
    assert module.weight[0]["exp_avg"].tolist() == [1, 1]


def test_an_object_is_checked_against_what_it_has() -> None:
    module = Module(np.zeros(3))
    with pytest.raises(
        errors.ShapeMismatch, match=r"'m/weight': wanted shape \(3,\), found \(2,\)"
    ):
        restore({"m": module}, {"m": Module(np.ones(2))})
    assert module.weight.tolist() == [0, 0, 0]


def test_an_object_restores_from_a_checkpoint_without_a_recorded_structure() -> None:
    module = Module(np.zeros(2))
    restore({"m": module}, {"m": {"weight": np.ones(2)}}, recorded=False)
    assert module.weight.tolist() == [1, 1]


def test_a_random_generator_goes_on_where_it_was() -> None:
    rng = np.random.default_rng(0)
    found, values = stored({"rng": rng})
    expected = rng.random(3).tolist()
    plan = fill.plan({"rng": rng}, found)
    plan.apply(values)
    assert rng.random(3).tolist() == expected


@pytest.mark.parametrize("name", ["seed", "rng/seed"])
def test_an_int_of_any_size(name: str) -> None:
    target = {name: 0}
    restore(target, {name: 2**100})
    assert target == {name: 2**100}


def test_none_takes_whatever_the_checkpoint_has() -> None:
    target: dict[str, Any] = {"opt": None, "other": None}
    restore(target, {"opt": {"m": [1, 2]}})
    assert target == {"opt": {"m": [1, 2]}, "other": None}


def test_a_part_can_be_restored() -> None:
    target = {"w": np.zeros(1)}
    restore(target, {"w": np.ones(1), "more": np.ones(5)})
    assert target["w"].tolist() == [1]


@pytest.mark.parametrize("names", [{"new": "old", "keep": None}, {"new": "old", "keep": None}.get])
def test_other_names(names: Any) -> None:
    target = {"new": np.zeros(1), "keep": np.full(1, 7.0)}
    restore(target, {"old": np.ones(1)}, names)
    assert (target["new"].tolist(), target["keep"].tolist()) == ([1], [7])


@pytest.mark.parametrize("unknown", ["layer/ww", "layer", 3])
def test_a_mistyped_leaf_is_not_taken_for_one_that_was_not_mentioned(unknown: Any) -> None:
    target = {"layer": {"w": np.zeros(1), "v": np.zeros(1)}}
    saved = {"layer": {"w": np.ones(1), "v": np.full(1, 2.0)}}
    with pytest.raises(errors.InvalidArgument, match=f"{unknown!r}, which is no leaf") as caught:
        restore(target, saved, {"layer/w": "layer/w", unknown: "layer/v"})
    assert ("Did you mean" in str(caught.value)) == (unknown != 3)
    assert target["layer"]["w"] == 0


@pytest.mark.parametrize("names", [{"new": 3}, lambda _: [], {"new": b"old"}])
def test_what_is_no_name(names: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="names must give the name of a tensor"):
        restore({"new": np.zeros(1)}, {"old": np.ones(1)}, names)


def test_members_of_enums_are_keys_by_their_values() -> None:
    target: dict[Any, Any] = {Mode.TRAIN: 0, "modes": {Mode.TEST: np.zeros(1)}}
    restore(target, {1: 5, "modes": {2: np.ones(1)}})
    assert target == {Mode.TRAIN: 5, "modes": {Mode.TEST: np.ones(1)}}


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (
            {"a": np.zeros(2), "x/w": np.zeros(2)},
            errors.TensorNotFound,
            r"tensor 'x/w' not found in checkpoint run/m-1\. Did you mean 'layer/w'\?",
        ),
        (
            {"a": np.zeros(2), "layer": {"w": np.zeros((3, 2))}},
            errors.ShapeMismatch,
            r"'layer/w': wanted shape \(3, 2\), found \(2, 3\) in checkpoint run/m-1",
        ),
        (
            {"a": np.zeros(2), "layer": {"w": np.zeros((2, 3), "f4")}},
            errors.DtypeMismatch,
            r"'layer/w': wanted dtype float32, found dtype float64",
        ),
        (
            {"a": np.zeros(2), "n": np.zeros(())},
            errors.DtypeMismatch,
            r"'n': wanted dtype float64, found dtype int64",
        ),
        (
            {"a": np.zeros(2), "f": 3},
            errors.DtypeMismatch,
            r"'f': wanted a number for a Python int, found dtype float64",
        ),
        (
            {"a": np.zeros(2), "name": 3},
            errors.DtypeMismatch,
            r"'name': wanted a number for a Python int, found dtype string",
        ),
        (
            {"a": np.zeros(2), "f": "text"},
            errors.DtypeMismatch,
            r"'f': wanted dtype string, found dtype float64",
        ),
        (
            {"a": np.zeros(2), "layer": {"w": 5.0}},
            errors.ShapeMismatch,
            r"'layer/w': wanted shape \(\), found \(2, 3\)",
        ),
    ],
)
def test_nothing_has_changed_when_it_does_not_fit(
    target: dict[str, Any], error: type[Exception], message: str
) -> None:
    state = {"a": np.ones(2), "layer": {"w": np.ones((2, 3))}, "n": 4, "f": 0.5, "name": "s"}
    with pytest.raises(error, match=message):
        restore(target, state)
    assert target["a"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("own", "saved"), [(["abc"], ["abcdef"]), ([b"a"], [b"abcdef", b""]), (["x"], ["\u00e4\u00f6"])]
)
def test_strings_that_do_not_fit_their_array_are_not_cut(own: list[Any], saved: list[Any]) -> None:
    target = {"names": np.array(own * len(saved))}
    restore(target, {"names": np.array(saved)})
    assert target["names"].tolist() == saved
    array = target["names"]
    restore(target, {"names": np.array(own * len(saved))})
    assert target["names"] is array  # there is room: in place again
    assert array.tolist() == own * len(saved)


def test_strings_that_nothing_but_objects_can_hold() -> None:
    own = np.array(["x", "y"], object)
    target = {"own": own, "narrow": np.array(["x", "y"]), "raw": np.array([b"x", b"y"])}
    texts, raw = np.array(["a\0", ""], object), np.array([b"a\0", b""], object)
    restore(target, {"own": texts, "narrow": texts, "raw": raw})
    assert target["own"] is own
    assert own.tolist() == target["narrow"].tolist() == ["a\0", ""]
    assert target["raw"].tolist() == [b"a\0", b""]


class Mode(enum.IntEnum):
    TRAIN = 1
    TEST = 2


class Celsius(float):
    pass


@pytest.mark.parametrize(
    ("own", "saved"), [(Mode.TRAIN, Mode.TEST), (Celsius(1), Celsius(2)), (Celsius(1), 2)]
)
def test_a_number_of_a_class_comes_back_as_one(own: Any, saved: Any) -> None:
    target = {"n": own}
    restore(target, {"n": saved})
    assert type(target["n"]) is type(own)
    assert target["n"] == saved


def test_a_number_that_its_class_does_not_have_is_refused() -> None:
    target = {"mode": Mode.TRAIN, "w": np.zeros(1)}
    with pytest.raises(errors.StateRefused, match=r"'mode' \(Mode\) did not take its value 7"):
        restore(target, {"mode": 7, "w": np.ones(1)})
    assert target == {"mode": Mode.TRAIN, "w": np.zeros(1)}


def test_a_fraction_is_no_number_of_a_class_of_ints() -> None:
    with pytest.raises(errors.DtypeMismatch, match="wanted a number for a Python int"):
        restore({"mode": Mode.TRAIN}, {"mode": 1.5})


@pytest.mark.parametrize("leaf", [3, True])
def test_a_fraction_is_no_int(leaf: Any) -> None:
    with pytest.raises(errors.DtypeMismatch, match="found dtype bfloat16"):
        restore({"n": leaf}, {"n": np.asarray(1.5, ml_dtypes.bfloat16)})


def test_a_big_int_is_no_bool() -> None:
    with pytest.raises(errors.DtypeMismatch, match="wanted a number for a Python bool"):
        restore({"n": True}, {"n": 10**30})


def test_a_scalar_of_text_stays_text() -> None:
    target = {"name": np.str_("a")}
    restore(target, {"name": np.str_("b")})
    assert target == {"name": "b"}


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_ints_come_back(sign: int) -> None:
    assert restore({"n": 0}, {"n": sign * 10**3900}) == {"n": sign * 10**3900}


@pytest.mark.parametrize("digits", [4100, 5000])
def test_an_int_that_could_not_be_read_back_is_refused(digits: int) -> None:
    with pytest.raises(errors.UnsupportedLeaf, match="leaf 'n' .*at most 13000 bits"):
        tree.flatten({"n": -(10**digits)})


def test_a_stored_int_of_too_many_digits_is_damage() -> None:
    with pytest.raises(errors.MalformedMetadata, match="expected bigint"):
        leaves.decode_leaf(leaves.BIG_INT, np.asarray(b"1" * 4001, object))


def test_a_value_that_does_not_decode_changes_nothing() -> None:
    target = {"a": np.zeros(2), "text": np.array(["x"])}
    with pytest.raises(errors.MalformedMetadata, match="not UTF-8"):
        restore(target, {"a": np.ones(2), "text": np.array([b"\xff"], object)})
    assert target["a"].tolist() == [0, 0]


class Refuses(Module):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise RuntimeError(f"no {state['weight']}")


def test_an_object_that_refuses_its_state_does_so_before_arrays_are_filled() -> None:
    target: dict[str, Any] = {"a": np.zeros(2), "model": Refuses(1)}
    with pytest.raises(errors.StateRefused) as caught:
        restore(target, {"a": np.ones(2), "model": Module(5)})
    assert str(caught.value) == (
        "'model' (Refuses) did not take its state: RuntimeError: no 5; nothing else has changed"
    )
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert target["a"].tolist() == [0, 0]


def test_what_was_loaded_before_an_object_refuses_is_named() -> None:
    target: dict[str, Any] = {
        "a": np.zeros(2),
        "x": Module(1),
        "y": [Module(2)],
        "z": Refuses(3),
        "last": Module(4),
    }
    state = {"a": np.ones(2), **{key: Module(5) for key in ("x", "z", "last")}, "y": [Module(5)]}
    with pytest.raises(errors.StateRefused) as caught:
        restore(target, state)
    assert str(caught.value) == (
        "'z' (Refuses) did not take its state: RuntimeError: no 5; loaded before it: 'x', 'y/0'; "
        "nothing else has changed"
    )
    modules = [target["x"], target["y"][0], target["last"]]
    assert [module.weight for module in modules] == [5, 5, 4]
    assert target["a"].tolist() == [0, 0]


# --------------------------------------------------------------------------- what has no data


class NoFields(NamedTuple):
    """As the states of many of Optax's transformations."""


@dataclasses.dataclass(frozen=True)
class OnlyFunctions:
    apply: Any = dataclasses.field(metadata={"pytree_node": False})
    name: Any = dataclasses.field(metadata={"static": True})


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("empty", [NoFields(), OnlyFunctions(len, "a")], ids=["tuple", "dataclass"])
def test_a_class_without_fields_stays(empty: Any, recorded: bool) -> None:
    target = {"a": np.zeros(1), "state": (empty, NoFields())}
    result = restore(target, {"a": np.ones(1), "state": (empty, NoFields())}, recorded=recorded)
    assert result is target
    assert target["a"].tolist() == [1]
    assert target["state"][0] is empty
    assert type(target["state"][1]) is NoFields


class Rate(Module):
    """Its weight is a number, which may become another kind of number."""


@pytest.mark.parametrize(("own", "saved"), [(1, 0.5), (0.5, 1), (1, True), (None, 0.5)])
def test_a_number_of_an_object_is_its_own_affair(own: Any, saved: Any) -> None:
    target = Rate(own)
    restore({"rate": target}, {"rate": Rate(saved)})
    assert target.weight == saved


def test_an_array_of_an_object_is_compared() -> None:
    with pytest.raises(errors.DtypeMismatch, match="'m/weight': wanted dtype float32, found"):
        restore({"m": Module(np.zeros(2, np.float32))}, {"m": Module(np.zeros(2))})


def test_objects_do_not_share_what_they_are_given() -> None:
    first, second = Module(np.zeros(2)), Module(np.zeros(2))
    target = {"a": first, "b": second}
    restore(target, {"a": Module(np.ones(2))}, {"b/weight": "a/weight"}, recorded=False)
    assert not np.shares_memory(first.weight, second.weight)
    assert first.weight.tolist() == second.weight.tolist() == [1, 1]
