from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager, errors
from ckptmgr.lifecycle import leaves

# Read when JAX is first used, not when it is imported: four devices to spread arrays over.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

jax = pytest.importorskip("jax", reason="cannot run here: JAX is not installed")
jnp = jax.numpy


class Empty(NamedTuple):
    """As the states of many of Optax's transformations."""


class Adam(NamedTuple):
    count: Any
    mu: Any
    nu: Any


def save(directory: Path, state: Any) -> None:
    with CheckpointManager(state, directory) as manager:
        manager.save(1)


def restore(directory: Path, state: Any = None) -> Any:
    restored = CheckpointManager(state, directory).restore()
    assert restored is not None
    return restored.state


def training_state(seed: int) -> Any:
    """Parameters, Optax-like optimizer state, a random key, a number."""
    key = jax.random.key(seed)
    params = {
        "dense": {"kernel": jax.random.normal(key, (4, 3)), "bias": jnp.full(3, seed, jnp.float32)},
        "layers": [jax.random.normal(key, (2,), jnp.bfloat16), (jnp.int32(seed), None)],
    }
    optimizer = (
        Empty(),
        Adam(jnp.asarray(seed, jnp.int32), params, jax.tree.map(lambda p: p * 2, params)),
        Empty(),
    )
    return {"params": params, "opt": optimizer, "key": jax.random.split(key, 3), "step": seed}


def same(one: Any, other: Any) -> bool:
    def leaf_same(a: Any, b: Any) -> bool:
        if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        return type(a) is type(b) and bool(
            np.asarray(a).tobytes() == np.asarray(b).tobytes()
            and getattr(a, "dtype", None) == getattr(b, "dtype", None)
        )

    alike = jax.tree.structure(one) == jax.tree.structure(other)
    return alike and bool(jax.tree.all(jax.tree.map(leaf_same, one, other)))


# --------------------------------------------------------------------------- pytrees


def test_a_training_state_comes_back_as_it_was(tmp_path: Path) -> None:
    save(tmp_path, training_state(1))
    target = training_state(2)
    assert not same(target, training_state(1))
    assert same(restore(tmp_path, target), training_state(1))


def test_a_training_state_in_a_tuple(tmp_path: Path) -> None:
    save(tmp_path, (training_state(1), Empty()))
    found = restore(tmp_path, (training_state(2), Empty()))
    assert same(found, (training_state(1), Empty()))


def test_without_a_target_the_leaves_are_of_jax(tmp_path: Path) -> None:
    save(tmp_path, training_state(1))
    found = restore(tmp_path)
    params = training_state(1)["params"]
    assert same(found["params"], params)
    assert same(found["key"], training_state(1)["key"])
    assert found["opt"][1]["count"] == 1  # a namedtuple comes back as a dict


def test_what_numpy_saved_becomes_what_the_target_is(tmp_path: Path) -> None:
    save(tmp_path, {"w": np.arange(3, dtype=np.float32)})
    target = restore(tmp_path, {"w": jnp.zeros(3)})
    assert same(target, {"w": jnp.arange(3, dtype=jnp.float32)})
    save(tmp_path / "back", target)
    array = np.zeros(3, np.float32)
    restore(tmp_path / "back", {"w": array})
    assert array.tolist() == [0, 1, 2]


def test_fields_that_are_no_data_stay(tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class TrainState:
        params: Any
        apply: Callable[[Any], Any] = dataclasses.field(metadata={"pytree_node": False})
        name: Any = dataclasses.field(metadata={"static": True})

    def double(x: Any) -> Any:
        return x * 2

    save(tmp_path, TrainState(jnp.ones(2), double, object()))
    name = object()
    found = restore(tmp_path, TrainState(jnp.zeros(2), double, name))
    assert found.params.tolist() == [1, 1]
    assert (found.apply, found.name) == (double, name)


DTYPES = (
    "bool",
    "int2",
    "int4",
    "int8",
    "int16",
    "int32",
    "uint2",
    "uint4",
    "uint8",
    "uint16",
    "uint32",
    "float16",
    "float32",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e4m3b11fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "complex64",
)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)], ids=str)
@pytest.mark.parametrize("name", DTYPES)
def test_dtypes(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    array = jnp.ones(shape).astype(name)
    save(tmp_path, {"a": array})
    for found in (restore(tmp_path, {"a": jnp.zeros(shape).astype(name)}), restore(tmp_path)):
        assert same(found, {"a": array})


def test_a_dtype_that_tensorflow_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.UnsupportedLeaf, match="leaf 'a' cannot be saved: .*float8_e4m3"):
        save(tmp_path, {"a": jnp.ones(2).astype("float8_e4m3")})


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (lambda: jnp.zeros(3), errors.ShapeMismatch, "'t': wanted shape (3,), found (2,)"),
        (
            lambda: jnp.zeros(2, jnp.bfloat16),
            errors.DtypeMismatch,
            "'t': wanted dtype bfloat16, found dtype float32",
        ),
        (lambda: jax.random.key(0), errors.DtypeMismatch, "wanted dtype uint32, found dtype float"),
    ],
    ids=["shape", "dtype", "key"],
)
def test_what_does_not_fit_changes_nothing(
    tmp_path: Path, target: Callable[[], Any], error: type[Exception], message: str
) -> None:
    save(tmp_path, {"a": np.ones(1), "t": jnp.ones(2)})
    other = np.zeros(1)
    with pytest.raises(error) as caught:
        restore(tmp_path, {"a": other, "t": target()})
    assert message in str(caught.value)
    assert other.tolist() == [0]


# --------------------------------------------------------------------------- what an array is


def over_devices(array: Any) -> Any:
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    return jax.device_put(
        array, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    )


def test_sharding_is_the_targets(tmp_path: Path) -> None:
    assert len(jax.devices()) >= 4
    numbers = jnp.arange(8, dtype=jnp.bfloat16)
    save(tmp_path, {"whole": numbers, "spread": over_devices(numbers)})
    target = {"whole": over_devices(jnp.zeros_like(numbers)), "spread": jnp.zeros_like(numbers)}
    found = restore(tmp_path, target)
    assert found["whole"].sharding == over_devices(numbers).sharding
    assert not found["spread"].committed
    assert found["whole"].tolist() == found["spread"].tolist() == list(range(8))


@pytest.mark.parametrize("device", [0, 2])
def test_device_is_the_targets(tmp_path: Path, device: int) -> None:
    save(tmp_path, {"a": jnp.ones(2)})
    target = {"a": jax.device_put(jnp.zeros(2), jax.devices()[device])}
    found = restore(tmp_path, target)["a"]
    assert found.devices() == {jax.devices()[device]}
    assert found.committed


@pytest.mark.parametrize("value", [0.5, 3, 2j])
@pytest.mark.parametrize("shape", [(), (2,)], ids=str)
def test_a_weak_type_stays_weak(tmp_path: Path, value: Any, shape: tuple[int, ...]) -> None:
    array = jnp.full(shape, value)
    assert array.weak_type
    save(tmp_path, {"a": array, "b": jnp.ones(shape)})
    found = restore(tmp_path, {"a": array * 0, "b": jnp.zeros(shape)})
    assert found["a"].weak_type
    assert not found["b"].weak_type
    assert same(found["a"], array)


def test_what_jax_would_cut_short_stays_numpys(tmp_path: Path) -> None:
    source = f"""
import jax, ckptmgr
jax.config.update("jax_enable_x64", True)
ckptmgr.CheckpointManager({{"n": jax.numpy.asarray([2**40])}}, {str(tmp_path)!r}).save(1)
"""
    subprocess.run([sys.executable, "-c", source], check=True)
    found = restore(tmp_path)["n"]
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [2**40]


def test_a_tracer_is_refused(tmp_path: Path) -> None:
    def step(x: Any) -> Any:
        save(tmp_path, {"x": x})
        return x

    with pytest.raises(errors.UnsupportedLeaf, match="leaf 'x' .*jax.jit.* save outside"):
        jax.jit(step)(jnp.ones(2))


def test_an_array_that_was_given_away_is_refused(tmp_path: Path) -> None:
    array = jnp.ones(2)
    array.delete()
    with pytest.raises(errors.UnsupportedLeaf, match="leaf 'x' .*deleted"):
        save(tmp_path, {"x": array})


def test_one_that_was_given_away_can_still_be_replaced(tmp_path: Path) -> None:
    save(tmp_path, {"x": jnp.ones(2), "w": jnp.full(2, 1.0)})
    target = {"x": jnp.zeros(2), "w": jnp.full(2, 0.0)}
    target["x"].delete()
    target["w"].delete()
    found = restore(tmp_path, target)
    assert found["x"].tolist() == found["w"].tolist() == [1, 1]


# --------------------------------------------------------------------------- random keys


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_keys(tmp_path: Path, implementation: str) -> None:
    key = jax.random.key(7, impl=implementation)
    save(tmp_path, {"key": key})
    target = {"key": jax.random.key(0, impl=implementation)}
    for found in (restore(tmp_path, target)["key"], restore(tmp_path)["key"]):
        assert found.dtype == key.dtype
        assert jax.random.normal(found).tolist() == jax.random.normal(key).tolist()


def test_a_key_of_another_implementation_is_refused(tmp_path: Path) -> None:
    save(tmp_path, {"key": jax.random.key(7, impl="rbg")})
    with pytest.raises(
        errors.DtypeMismatch, match="wanted a jax:key:unsafe_rbg, found a jax:key:rbg"
    ):
        restore(tmp_path, {"key": jax.random.key(0, impl="unsafe_rbg")})


def test_the_numbers_of_a_key_fill_a_key(tmp_path: Path) -> None:
    key = jax.random.key(7)
    save(tmp_path, {"key": jax.random.key_data(key)})
    found = restore(tmp_path, {"key": jax.random.key(0)})
    assert same(found, {"key": key})


@pytest.mark.parametrize(
    "make",
    [lambda: jnp.ones(3), lambda: jax.random.key(3), lambda: jnp.asarray(2.0)],
    ids=["array", "key", "weak"],
)
def test_a_guard_against_implicit_transfers_refuses_no_restore(tmp_path: Path, make: Any) -> None:
    value = make()
    with jax.transfer_guard("disallow"):
        save(tmp_path, {"x": value})
        into, anew = restore(tmp_path, {"x": value})["x"], restore(tmp_path)["x"]
    assert (into.dtype, anew.dtype) == (value.dtype, value.dtype)
    assert (into == value).all()
    assert (anew == value).all()


def test_what_a_device_refuses_is_no_damage(tmp_path: Path) -> None:
    save(tmp_path, {"x": jnp.ones(3)})
    # As one whose memory is full does.
    with (
        jax.transfer_guard("disallow_explicit"),
        pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed"),
    ):
        restore(tmp_path)


def test_an_unknown_implementation_is_damage() -> None:
    with pytest.raises(errors.MalformedMetadata, match="expected jax:key:none"):
        leaves.decode_leaf("jax:key:none", np.zeros(2, np.uint32))


# --------------------------------------------------------------------------- beside the rest


def test_a_process_without_jax_gets_arrays(tmp_path: Path) -> None:
    save(tmp_path, training_state(1))
    source = f"""
import sys, ckptmgr
state = ckptmgr.CheckpointManager(None, {str(tmp_path)!r}).restore().state
print(type(state["params"]["layers"][0]).__name__, state["params"]["layers"][0].dtype,
      state["key"].shape, "jax" in sys.modules, sep=";")
"""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "ndarray;bfloat16;(3, 2);False"


def test_an_asynchronous_save_outlives_a_donation(tmp_path: Path) -> None:
    step = jax.jit(lambda x: x + 1, donate_argnums=0)
    array = jnp.zeros(3_000_000)
    manager = CheckpointManager(None, tmp_path, asynchronous=True, max_to_keep=None)
    with manager:
        for number in range(1, 5):
            manager.save(number, {"a": array})
            array = step(array)
    for number in range(1, 5):
        found = CheckpointManager(None, tmp_path).restore(number)
        assert found is not None
        assert bool((found.state["a"] == number - 1).all())


def test_tensorflow_reads_it(tmp_path: Path, tf: Any) -> None:
    save(tmp_path, training_state(3))
    reader = tf.train.load_checkpoint(str(tmp_path))
    found = reader.get_tensor("params/layers/0")
    assert reader.get_variable_to_dtype_map()["params/layers/0"] == tf.bfloat16
    assert found.dtype == ml_dtypes.bfloat16
    assert found.tobytes() == np.asarray(training_state(3)["params"]["layers"][0]).tobytes()
    assert reader.get_tensor("opt/1/count") == 3
    assert reader.get_tensor("key").shape == (3, 2)


def test_a_saver_replaces_arrays(tmp_path: Path) -> None:
    prefix = ckptmgr.Saver({"w": jnp.arange(3)}).save(str(tmp_path / "m"))
    assert prefix is not None
    found = ckptmgr.Saver({"w": jnp.zeros(3, jnp.int32)}).restore(prefix)
    assert same(found, {"w": jnp.arange(3)})
