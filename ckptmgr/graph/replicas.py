"""What a variable says of its copies, of which TensorFlow can keep one per device.

Here there is one. It is kept, for whoever asks, and written to the variable's message.

Source: tensorflow/python/ops/variables.py, tensorflow/core/framework/variable.proto.
"""

from __future__ import annotations

import enum
from typing import Any, TypeVar

from ckptmgr import errors


class VariableSynchronization(enum.Enum):
    """When the copies of a variable are brought together."""

    AUTO = 0
    NONE = 1
    ON_WRITE = 2
    ON_READ = 3


class VariableAggregation(enum.Enum):
    """How the copies of a variable, or of its changes, become one."""

    NONE = 0
    SUM = 1
    MEAN = 2
    ONLY_FIRST_REPLICA = 3
    ONLY_FIRST_TOWER = 3  # noqa: PIE796 - its older name


_Kind = TypeVar("_Kind", VariableSynchronization, VariableAggregation)


def checked_replication(
    synchronization: Any, aggregation: Any, trainable: bool | None, name: str | None
) -> tuple[VariableSynchronization, VariableAggregation, bool]:
    """The three with defaults for None; a variable that is brought together on read is not trained.

    Args:
        synchronization: A member of `VariableSynchronization`, or its number.
        aggregation: A member of `VariableAggregation`, or its number.
    Raises:
        GraphError: There is no such member.
    """
    when = _member(VariableSynchronization, synchronization, "synchronization", name)
    how = _member(VariableAggregation, aggregation, "aggregation", name)
    if trainable is None:
        trainable = when is not VariableSynchronization.ON_READ
    return when, how, trainable


def _member(kind: type[_Kind], value: Any, what: str, name: str | None) -> _Kind:
    try:
        return kind(0 if value is None else value)
    except ValueError:
        raise errors.GraphError(
            f"Invalid variable {what} mode: {value} for variable: {name}"
        ) from None
