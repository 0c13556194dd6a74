"""JAX's arrays and typed random keys.

JAX's arrays never change, so whatever is restored is a new array, which takes its device and
sharding from the one whose place it takes. Transfers are explicit, so that they pass where
`jax.transfer_guard` disallows those that nobody asked for.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = np.ndarray[Any, Any]

_ARRAY = "jax"
_KEY = "jax:key:"

# The Python number that makes a weakly typed array, by the kind of its dtype.
_WEAK = {"i": 0, "f": 0.0, "c": 0j}


def kind_of(value: Any) -> str | None:
    if not isinstance(value, jax.Array):
        return None
    return _KEY + _implementation(value) if _is_key(value) else _ARRAY


def outline(value: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    value = _numbers(value)
    return tuple(value.shape), np.dtype(value.dtype)


def to_array(value: Any) -> Array:
    if isinstance(value, jax.core.Tracer):
        raise TypeError("inside of jax.jit and the like it has no value; save outside")
    if not (value.is_fully_addressable or value.is_fully_replicated):
        raise TypeError(
            "it is spread over processes; gather it first, "
            "jax.experimental.multihost_utils.process_allgather(array, tiled=True)"
        )
    numbers = _numbers(value)
    try:
        return np.asarray(numbers)
    except RuntimeError:
        # A guard, perhaps. Not so from the first: for each array of the CPU it takes 10 us more.
        array: Array = jax.device_get(numbers)
        return array


def array_can_change(value: Any) -> bool:  # noqa: ARG001 - none can
    return False


def from_array(array: Array, kind: str) -> Any:
    if kind != _ARRAY:
        return jax.random.wrap_key_data(jax.device_put(array), impl=kind.removeprefix(_KEY))
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        return array  # without jax_enable_x64 JAX would cut its numbers short
    return jax.device_put(array)


def is_immutable(value: Any) -> bool:  # noqa: ARG001 - all are
    return True


def fill(target: Any, array: Array) -> Any:
    if _is_key(target):
        value = jax.random.wrap_key_data(jax.device_put(array), impl=_implementation(target))
    elif target.weak_type:
        value = _weakly_typed(array)
    else:
        value = array
    # What was never put on a device goes along with whatever it is used with, and has to.
    return jax.device_put(value, target.sharding if target.committed else None)


def memory_of(value: Any) -> Array | None:  # noqa: ARG001 - nobody may write to it
    return None


def parts_of(value: Any) -> dict[str, Any] | None:  # noqa: ARG001 - JAX has no such objects
    return None


def _weakly_typed(array: Array) -> Any:
    # It gives way to the other's dtype in an operation: with a strong one, the numbers that come
    # after a restart would be others.
    with jax.transfer_guard_host_to_device("allow"):  # of the Python number
        weak = jnp.full(array.shape, _WEAK.get(array.dtype.kind, 0.0))
        return weak.at[...].set(array) if weak.dtype == array.dtype else array


def _is_key(value: Any) -> bool:
    # Those of keys are no dtypes of NumPy's; asking JAX takes ten times as long.
    return not isinstance(value.dtype, np.dtype) and bool(
        jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    )


def _implementation(key: Any) -> str:
    return str(jax.random.key_impl(key))


def _numbers(value: Any) -> Any:
    if not _is_key(value):
        return value
    if not isinstance(jax.random.key_impl(value), str):
        raise TypeError("the implementation of its key has no name; save jax.random.key_data(key)")
    return jax.random.key_data(value)
