"""Where a new operation is placed: within `device` blocks and `colocate_with` blocks.

Inner devices go before outer ones, part by part. A block of colocation forgets the devices around
it: the operation goes where the other one is, and its attribute `_class` says so.

Source: tensorflow/python/framework/ops.py (Graph._apply_device_functions, Graph.colocate_with).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ckptmgr import errors
from ckptmgr.graph.devices import DeviceSpec
from ckptmgr.graph.operation import Operation

DeviceFunction = Callable[[Operation], Any]


class Placement:
    """The blocks that are entered, innermost last."""

    def __init__(self) -> None:
        self._devices: list[DeviceSpec | DeviceFunction | None] = []
        self._colocated: list[Operation] = []

    @contextmanager
    def device(self, device: Any) -> Iterator[None]:
        """Place new operations on a device: a string, a spec, or a function of the operation.

        None forgets the outer blocks, and an empty string changes nothing.
        """
        outer = self._devices
        self._devices = [*outer, _as_placer(device)]
        try:
            yield
        finally:
            self._devices = outer

    @contextmanager
    def colocate_with(self, op: Operation | None, *, ignore_existing: bool) -> Iterator[None]:
        """Place new operations where `op` is; `ignore_existing` forgets outer colocations."""
        if op is None and not ignore_existing:
            raise errors.GraphError(
                "Trying to reset colocation (op is None) but ignore_existing is not True"
            )
        devices, colocated = self._devices, self._colocated
        self._devices = []
        self._colocated = [] if ignore_existing else list(colocated)
        if op is not None:
            self._colocated.append(op)
        try:
            yield
        finally:
            self._devices, self._colocated = devices, colocated

    def place(self, op: Operation) -> None:
        """Give a new operation its device and its colocation groups."""
        self.apply_devices(op)
        if not self._colocated:
            return
        groups: set[bytes] = set()
        device = ""
        for other in reversed(self._colocated):
            groups.update(other.colocation_groups())
            device = device or other.device
        if device:
            op._set_device(device)
        op._set_colocation_groups(sorted(groups))

    def apply_devices(self, op: Operation) -> None:
        """Fill in, from the inside out, what the operation's device leaves open."""
        for placer in reversed(self._devices):
            if placer is None:
                break
            if isinstance(placer, DeviceSpec):
                merged = placer.merged_with(DeviceSpec.from_string(op.device))
                op._node.device = merged.to_string()
            else:
                op._set_device(_as_text(placer(op)))


def _as_placer(device: Any) -> DeviceSpec | DeviceFunction | None:
    if device is None or isinstance(device, DeviceSpec):
        return device
    if callable(device):
        return device  # type: ignore[no-any-return]
    return DeviceSpec.from_string(_as_text(device))


def _as_text(device: Any) -> str:
    """A device, or what a device function gave, as a string."""
    if device is None:
        return ""
    to_string = getattr(device, "to_string", None)
    text = to_string() if to_string is not None else device
    if isinstance(text, bytes):
        text = text.decode()
    if not isinstance(text, str):
        raise errors.GraphTypeError(f"a device is a string, found {device!r:.80}")
    return text
