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
DeadlineExceededError = errors.LockTimeout
InternalError = errors.ExecutionFailed
UnimplementedError = errors.KernelNotFound
OutOfRangeError = errors.LimitReached


class CancelledError(errors.CheckpointError):
    """What was run was given up."""
