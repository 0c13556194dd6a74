"""`tf.errors`: TensorFlow's names for the exceptions that this package raises in those places.

What a program raises itself, with TensorFlow's arguments, is of the same classes.

Source: tensorflow/python/framework/errors_impl.py, tensorflow/core/protobuf/error_codes.proto.
"""

from __future__ import annotations

from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1.namespaces import missing
from ckptmgr.statuses import Status

OK = 0
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15
UNAUTHENTICATED = 16

OpError = errors.CheckpointError
NotFoundError = errors.NotFound
DataLossError = errors.DataLoss
FailedPreconditionError = errors.FailedPrecondition
InvalidArgumentError = errors.InvalidArgument
AlreadyExistsError = errors.AlreadyExists
PermissionDeniedError = errors.NotPermitted
DeadlineExceededError = errors.DeadlineExceeded
InternalError = errors.Internal
UnimplementedError = errors.Unimplemented
OutOfRangeError = errors.OutOfRange


class CancelledError(Status):
    """What was run was given up."""

    error_code = CANCELLED


class UnknownError(Status):
    """Something failed, and nobody says how."""


class ResourceExhaustedError(Status):
    """There is not enough memory, or space."""

    error_code = RESOURCE_EXHAUSTED


class AbortedError(Status):
    """What was run was ended from outside; `MonitoredSession` begins again with a new session."""

    error_code = ABORTED


class UnavailableError(Status):
    """What runs is not there at the moment; `MonitoredSession` begins again with a new session."""

    error_code = UNAVAILABLE


class UnauthenticatedError(Status):
    """It is not known who asks."""

    error_code = UNAUTHENTICATED


_KINDS: dict[int, type[errors.CheckpointError]] = {
    kind.error_code: kind
    for kind in (
        CancelledError,
        UnknownError,
        InvalidArgumentError,
        DeadlineExceededError,
        NotFoundError,
        AlreadyExistsError,
        PermissionDeniedError,
        ResourceExhaustedError,
        FailedPreconditionError,
        AbortedError,
        OutOfRangeError,
        UnimplementedError,
        InternalError,
        UnavailableError,
        DataLossError,
        UnauthenticatedError,
    )
}


def exception_type_from_error_code(error_code: int) -> type[errors.CheckpointError]:
    """The class of a number."""
    return _KINDS[error_code]


def error_code_from_exception_type(cls: type[BaseException]) -> int:
    """The number of a class; UNKNOWN where it is none of these."""
    return next((code for code, kind in _KINDS.items() if kind is cls), UNKNOWN)


def __getattr__(name: str) -> Any:
    raise AttributeError(missing(f"{__name__}.{name}"))
