"""PyTorch's tensors and random generators.

A tensor on the CPU and its array share memory. NumPy lacks bfloat16 and the float8 dtypes: their
bits pass as integers to the dtypes of ml_dtypes, which have the same layout.
"""

from __future__ import annotations

import functools
from typing import Any, Protocol

import ml_dtypes
import numpy as np
import torch

Array = np.ndarray[Any, Any]

_TENSOR = "torch"
_GENERATOR = "torch:generator:"

_LACKED_BY_NUMPY = {
    torch.bfloat16: np.dtype(ml_dtypes.bfloat16),
    torch.float8_e4m3fn: np.dtype(ml_dtypes.float8_e4m3fn),
    torch.float8_e4m3fnuz: np.dtype(ml_dtypes.float8_e4m3fnuz),
    torch.float8_e5m2: np.dtype(ml_dtypes.float8_e5m2),
    torch.float8_e5m2fnuz: np.dtype(ml_dtypes.float8_e5m2fnuz),
}
_LACKED_BY_TORCH = {held: dtype for dtype, held in _LACKED_BY_NUMPY.items()}
# Integers as wide, of which both have the same.
_CARRIERS = {1: (torch.uint8, np.uint8), 2: (torch.int16, np.int16)}


class Waits(Protocol):
    """A manager, as far as `release_before_step` needs one."""

    def wait_staged(self) -> None: ...


def release_before_step(manager: Waits, optimizer: torch.optim.Optimizer) -> Any:
    """Let an asynchronous save read the tensors themselves until the optimizer changes them.

    Returns:
        A handle; its `remove()` undoes this.
    """
    return optimizer.register_step_pre_hook(lambda *_: manager.wait_staged())


# --------------------------------------------------------------------------- the verbs


def kind_of(value: Any) -> str | None:
    if isinstance(value, torch.Tensor):
        return _TENSOR
    if isinstance(value, torch.Generator):
        return f"{_GENERATOR}{value.device.type}"
    return None


def outline(value: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    if isinstance(value, torch.Generator):
        return tuple(value.get_state().shape), np.dtype(np.uint8)
    _refuse_what_is_no_array(value)
    return tuple(value.shape), _held_as(value.dtype)


def to_array(value: Any) -> Array:
    if isinstance(value, torch.Generator):
        return _array(value.get_state())
    _refuse_what_is_no_array(value)
    return _array(value.detach().cpu().resolve_conj().resolve_neg())


def array_can_change(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cpu"


def from_array(array: Array, kind: str) -> Any:
    tensor = _tensor(array)
    if kind == _TENSOR:
        return tensor
    device = kind.removeprefix(_GENERATOR)
    try:
        generator = torch.Generator(device)
    except RuntimeError:
        return tensor  # no such device here; its state can still be looked at
    return generator.set_state(tensor)


def is_immutable(value: Any) -> bool:
    if not isinstance(value, torch.Tensor):
        return False
    # Outside of inference mode PyTorch lets nobody write to what was made in it.
    is_locked = value.is_inference() and not torch.is_inference_mode_enabled()
    return is_locked or _is_expanded(value)


def fill(target: Any, array: Array) -> Any:
    source = _tensor(array)
    if isinstance(target, torch.Generator):
        return target.set_state(source)
    if is_immutable(target):
        return source.to(target.device)
    if _is_memory_of(target, source):
        # As copy_() would: autograd refuses to go back through a value that is gone.
        torch.autograd.graph.increment_version(target)
        return target
    with torch.no_grad():
        return target.copy_(source)


def memory_of(value: Any) -> Array | None:
    # What a subclass does with its memory only the subclass knows.
    is_own = type(value) in (torch.Tensor, torch.nn.Parameter) and not is_immutable(value)
    is_plain = is_own and value.device.type == "cpu" and value.is_contiguous()
    return _array(value.detach()) if is_plain and not (value.is_conj() or value.is_neg()) else None


def parts_of(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, torch.nn.Module) or not all(map(_only_copies, value.modules())):
        return None
    tensors = value.state_dict()
    if any(is_immutable(tensor) for tensor in tensors.values()):
        return None
    return dict(tensors)


def _is_expanded(tensor: torch.Tensor) -> bool:
    """Whether one number stands for several, so that PyTorch writes to none of them."""
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_contiguous():
        return False
    sides = zip(tensor.shape, tensor.stride(), strict=True)
    return any(size > 1 and stride == 0 for size, stride in sides)


def _is_memory_of(target: torch.Tensor, source: torch.Tensor) -> bool:
    is_same = target.device == source.device and target.data_ptr() == source.data_ptr()
    return bool(is_same and target.is_contiguous() and target.dtype == source.dtype)


# --------------------------------------------------------------------------- modules

# What a class may override to save or load otherwise than tensor by tensor.
_HOW_TO_LOAD = ("load_state_dict", "_load_from_state_dict")
_HOW_TO_SAVE = ("state_dict", "_save_to_state_dict", "get_extra_state")
_HOOKS = (
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
)


def _only_copies(module: torch.nn.Module) -> bool:
    """Whether a module's part of load_state_dict is to copy to its own tensors."""
    if any(getattr(module, hooks, None) for hooks in _HOOKS):
        return False
    return all(
        name not in vars(module) and _is_pytorchs(type(module), name)
        for name in (*_HOW_TO_LOAD, *_HOW_TO_SAVE)
    )


def _is_pytorchs(kind: type, name: str) -> bool:
    found = getattr(kind, name)
    # Normalisation layers add a tensor that versions before 0.4.1 did not save, and else copy.
    added = getattr(torch.nn.modules.batchnorm._NormBase, name)  # noqa: SLF001 - has no other name
    return found is getattr(torch.nn.Module, name) or found is added


# --------------------------------------------------------------------------- tensors


def _array(tensor: torch.Tensor) -> Array:
    if tensor.dtype not in _LACKED_BY_NUMPY:
        found: Array = tensor.numpy()
        return found
    carrier, _ = _CARRIERS[tensor.dtype.itemsize]
    bits: Array = tensor.view(carrier).numpy()
    viewed: Array = bits.view(_LACKED_BY_NUMPY[tensor.dtype])
    return viewed


def _tensor(array: Array) -> torch.Tensor:
    if not array.flags.writeable or not array.flags.c_contiguous:
        array = array.copy()  # PyTorch knows no read-only tensor, and no negative stride
    dtype = _LACKED_BY_TORCH.get(array.dtype)
    if dtype is None:
        return torch.from_numpy(array)
    _, carrier = _CARRIERS[array.dtype.itemsize]
    return torch.from_numpy(array.view(carrier)).view(dtype)


@functools.cache
def _held_as(dtype: torch.dtype) -> np.dtype[Any]:
    try:
        # The default device may be another one, of which NumPy sees nothing.
        array = _array(torch.empty(0, dtype=dtype, device="cpu"))
    except (RuntimeError, TypeError):
        raise TypeError(
            f"no array holds {dtype}; save its bits, tensor.view(torch.uint8), or convert it"
        ) from None
    return np.dtype(array.dtype)


def _refuse_what_is_no_array(tensor: torch.Tensor) -> None:
    if isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin):
        raise TypeError("it has no shape yet; run the module once before saving or restoring it")
    if hasattr(tensor, "full_tensor"):
        raise TypeError(
            "a DTensor is spread over processes; save tensor.full_tensor() from one of them, "
            "or tensor.to_local() of each in a directory of its own"
        )
    if tensor.is_nested:
        raise TypeError("a nested tensor has no single shape; save the tensors of .unbind()")
    if tensor.is_quantized:
        raise TypeError(
            "a quantised tensor is more than an array; save tensor.int_repr(), and its scale and "
            "zero point beside it, or tensor.dequantize()"
        )
    if tensor.layout is not torch.strided:
        raise TypeError(
            f"a tensor of layout {tensor.layout} is several arrays; save tensor.to_dense(), "
            f"or its indices and values"
        )
    if tensor.is_meta:
        raise TypeError(
            "a tensor on the device 'meta' has no values; give it memory first, "
            "module.to_empty(device='cpu')"
        )
    _held_as(tensor.dtype)
