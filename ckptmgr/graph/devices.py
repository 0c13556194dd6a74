"""Device strings: parsed, merged and written in TensorFlow's canonical form.

"/job:<name>/replica:<n>/task:<n>/device:<type>:<n or *>", each part optional. "/cpu:0" and
"/gpu:1" are older spellings of the last part.

Source: tensorflow/python/framework/device_spec.py.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ckptmgr import errors

#: Types that may stand alone, in any case, as in "/gpu:0".
_BARE_TYPES = frozenset({"CPU", "GPU", "TPU", "TPU_SYSTEM", "XLA_CPU", "XLA_GPU", "CUSTOM"})


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """Where an operation is to run; None leaves a part open."""

    job: str | None = None
    replica: int | None = None
    task: int | None = None
    device_type: str | None = None
    device_index: int | None = None

    @classmethod
    def from_string(cls, text: str) -> DeviceSpec:
        return _parse(text)

    def to_string(self) -> str:
        parts = []
        if self.job is not None:
            parts.append(f"/job:{self.job}")
        if self.replica is not None:
            parts.append(f"/replica:{self.replica}")
        if self.task is not None:
            parts.append(f"/task:{self.task}")
        if self.device_type is not None:
            index = "*" if self.device_index is None else self.device_index
            parts.append(f"/device:{self.device_type}:{index}")
        return "".join(parts)

    def merged_with(self, other: DeviceSpec) -> DeviceSpec:
        """This one, with every part that `other` has taken from there."""
        return DeviceSpec(
            self.job if other.job is None else other.job,
            self.replica if other.replica is None else other.replica,
            self.task if other.task is None else other.task,
            self.device_type if other.device_type is None else other.device_type,
            self.device_index if other.device_index is None else other.device_index,
        )


@functools.lru_cache(maxsize=1024)
def _parse(text: str) -> DeviceSpec:
    job: str | None = None
    numbers: dict[str, int] = {}
    kind: str | None = None
    index: int | None = None
    for part in text.split("/"):
        match part.split(":"):
            case [""]:
                continue
            case ["job", value]:
                job = value
            case ["replica" | "task" as key, value]:
                numbers[key] = _number(value, text)
            case ["device", device_type, value]:
                kind = _first(kind, device_type, text)
                index = None if value == "*" else _number(value, text)
            case [bare] if bare.upper() in _BARE_TYPES:
                kind = _first(kind, bare.upper(), text)
            case [bare, value] if bare.upper() in _BARE_TYPES:
                kind = _first(kind, bare.upper(), text)
                index = None if value == "*" else _number(value, text)
            case _:
                raise errors.GraphError(
                    f"unknown part {part!r} in device {text!r}; a device is written "
                    f"'/job:name/replica:0/task:0/device:CPU:0', each part optional"
                )
    return DeviceSpec(job, numbers.get("replica"), numbers.get("task"), kind, index)


def _first(earlier: str | None, device_type: str, text: str) -> str:
    if earlier is not None:
        raise errors.GraphError(f"device {text!r} has two types, {earlier} and {device_type}")
    return device_type


def _number(value: str, text: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise errors.GraphError(f"{value!r} in device {text!r} must be a number")
    return int(value)
