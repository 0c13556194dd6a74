"""A class is raised with a message by this package, with TensorFlow's arguments by programs."""

from __future__ import annotations

import pickle

import pytest

from ckptmgr import errors, statuses
from ckptmgr.compat.v1 import errors as tf_errors

KINDS = statuses.Status.__subclasses__()
RAISED = [
    (errors.TensorNotFound("no w"), tf_errors.NotFoundError, 5),
    (errors.CheckpointNotFound("no m"), tf_errors.NotFoundError, 5),
    (errors.FileMissing(2, "no file", "/x"), tf_errors.NotFoundError, 5),
    (errors.FileExists(17, "a file", "/x"), tf_errors.AlreadyExistsError, 6),
    (errors.PermissionDenied(13, "not yours", "/x"), tf_errors.PermissionDeniedError, 7),
    (errors.LockTimeout("locked"), tf_errors.DeadlineExceededError, 4),
    (errors.ShapeMismatch("[2]"), tf_errors.InvalidArgumentError, 3),
    (errors.ChecksumMismatch("crc", path="/x"), tf_errors.DataLossError, 15),
    (errors.MalformedGraph("bytes", path="/x"), tf_errors.DataLossError, 15),
    (errors.UninitializedVariable("w"), tf_errors.FailedPreconditionError, 9),
    (errors.KernelNotFound("Conv9D"), tf_errors.UnimplementedError, 12),
    (errors.KernelFailed("x", node="n", op_type="T"), tf_errors.InternalError, 13),
    (errors.InvalidOperand("x", node="n", op_type="T"), tf_errors.InvalidArgumentError, 3),
    (errors.OperandNotFound("x", node="n", op_type="T"), tf_errors.NotFoundError, 5),
    (errors.OperandDamaged("x", node="n", op_type="T"), tf_errors.DataLossError, 15),
    (errors.LimitReached("x", node="n", op_type="T"), tf_errors.OutOfRangeError, 11),
    (errors.GraphError("a graph"), tf_errors.OpError, 2),
]


@pytest.mark.parametrize(("error", "kind", "number"), RAISED, ids=str)
def test_what_is_raised_here_is_caught_as_tensorflows(
    error: errors.CheckpointError, kind: type[errors.CheckpointError], number: int
) -> None:
    assert isinstance(error, kind)
    assert error.error_code == number
    assert error.message == str(error) != ""
    assert error.node_def is error.op is None
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own
    assert (type(again), str(again), again.error_code) == (type(error), str(error), number)


@pytest.mark.parametrize("kind", KINDS)
def test_tensorflows_arguments_make_what_is_caught_here(kind: type[errors.CheckpointError]) -> None:
    with pytest.raises(errors.CheckpointError) as caught:
        raise kind(None, None, "done")
    assert isinstance(caught.value, getattr(errors, kind.__name__, kind))
    assert str(caught.value) == caught.value.message == "done"
    assert str(kind("alone")) == "alone"
    assert kind("alone").error_code == kind.error_code


def test_an_error_of_the_system_keeps_what_the_system_said() -> None:
    error = errors.FileMissing(2, "cannot open /x: gone", "/x")
    assert (error.errno, error.filename, str(error)) == (2, "/x", "cannot open /x: gone")


def test_a_class_has_a_number_and_other_classes_have_none() -> None:
    assert tf_errors.error_code_from_exception_type(tf_errors.AbortedError) == tf_errors.ABORTED
    assert tf_errors.error_code_from_exception_type(KeyError) == tf_errors.UNKNOWN
    with pytest.raises(AttributeError, match="raise_exception_on_not_ok_status is not offered"):
        tf_errors.__getattr__("raise_exception_on_not_ok_status")
