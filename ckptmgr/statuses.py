"""The root of this package's errors, and the kinds of failure that TensorFlow's errors tell apart.

TensorFlow's errors are made of `(node_def, op, message)`, its `OpError` of `(node_def, op, message,
error_code)`. Programs raise them so, and catch them together with those that this package raises,
which are made of the message alone. So the same classes take both: what is given alone is the
message.

Source: tensorflow/python/framework/errors_impl.py, tensorflow/core/protobuf/error_codes.proto.
"""

from __future__ import annotations

from typing import Any


class CheckpointError(Exception):
    """The root of every error in this package.

    Args:
        node_def: The message of the operation that failed; alone, it is `message`.
        op: The operation.
        message: What it says.
        error_code: The number of the kind of failure.
        payloads: A dictionary of details.
    """

    #: UNKNOWN: TensorFlow raises no error of its own there.
    error_code: int = 2
    node_def: Any = None
    op: Any = None

    def __init__(
        self,
        node_def: Any = None,
        op: Any = None,
        message: Any = None,
        error_code: int | None = None,
        *payloads: Any,
    ) -> None:
        if message is None:
            node_def, message = None, node_def
        super().__init__(*([] if message is None else [message]))
        # Only what differs from the class: an error of the system has none of these.
        if node_def is not None:
            self.node_def = node_def
        if op is not None:
            self.op = op
        if error_code is not None:
            self.error_code = error_code
        self._payloads = payloads

    @property
    def message(self) -> str:
        """What it says: programs for TensorFlow ask its errors for it."""
        return str(self)

    @property
    def experimental_payloads(self) -> Any:
        return self._payloads[0] if self._payloads else {}


class Status(CheckpointError):
    """One kind of failure, whose number need not be given."""

    def __init__(
        self, node_def: Any = None, op: Any = None, message: Any = None, *payloads: Any
    ) -> None:
        super().__init__(node_def, op, message, None, *payloads)


class InvalidArgument(Status, ValueError):
    """An argument that cannot be meant; nothing was written."""

    error_code = 3


class DeadlineExceeded(Status, TimeoutError):
    """Something was waited for and did not come in time."""

    error_code = 4


class NotFound(Status):
    """Nothing has the name that was asked for: no tensor, file, checkpoint or model."""

    error_code = 5


class AlreadyExists(Status):
    """What is to be made is there already."""

    error_code = 6


class NotPermitted(Status):
    """Whoever asks may not do that."""

    error_code = 7


class FailedPrecondition(Status):
    """Something else has to be done first."""

    error_code = 9


class OutOfRange(Status):
    """There is no more: an input, or a counter, is at its end."""

    error_code = 11


class Unimplemented(Status):
    """Nothing here does that."""

    error_code = 12


class Internal(Status):
    """What should have worked did not."""

    error_code = 13


class DataLoss(Status):
    """What was read is not what was written."""

    error_code = 15
