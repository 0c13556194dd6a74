"""`tf.errors`: TensorFlow's names for the exceptions that this package raises in those places.

Source: tensorflow/python/framework/errors_impl.py.
"""

from __future__ import annotations

from ckptmgr import errors

OpError = errors.CheckpointError
NotFoundError = errors.NotFound
DataLossError = errors.DataLoss
FailedPreconditionError = errors.UninitializedVariable
InvalidArgumentError = errors.InvalidArgument
AlreadyExistsError = errors.FileExists
PermissionDeniedError = errors.PermissionDenied
DeadlineExceededError = errors.DeadlineExceeded
InternalError = errors.ExecutionFailed
UnimplementedError = errors.KernelNotFound
OutOfRangeError = errors.OutOfRange


class CancelledError(errors.StatusError):
    """What was run was given up."""


class AbortedError(errors.StatusError):
    """What was run was ended from outside; `MonitoredSession` begins again with a new session."""


class UnavailableError(errors.StatusError):
    """What runs is not there at the moment; `MonitoredSession` begins again with a new session."""
