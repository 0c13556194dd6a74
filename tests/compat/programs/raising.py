"""Programs that raise TensorFlow's errors, and catch them."""

from __future__ import annotations

import os
import pickle
from typing import Any

from tests.compat.programs.seeing import caught, graph, program, raise_it

#: The classes, each with the name of its number.
CLASSES = {
    "AbortedError": "ABORTED",
    "AlreadyExistsError": "ALREADY_EXISTS",
    "CancelledError": "CANCELLED",
    "DataLossError": "DATA_LOSS",
    "DeadlineExceededError": "DEADLINE_EXCEEDED",
    "FailedPreconditionError": "FAILED_PRECONDITION",
    "InternalError": "INTERNAL",
    "InvalidArgumentError": "INVALID_ARGUMENT",
    "NotFoundError": "NOT_FOUND",
    "OutOfRangeError": "OUT_OF_RANGE",
    "PermissionDeniedError": "PERMISSION_DENIED",
    "ResourceExhaustedError": "RESOURCE_EXHAUSTED",
    "UnauthenticatedError": "UNAUTHENTICATED",
    "UnavailableError": "UNAVAILABLE",
    "UnimplementedError": "UNIMPLEMENTED",
    "UnknownError": "UNKNOWN",
}


def fields(error: Any) -> list[Any]:
    return [error.message, str(error), error.node_def, error.op, int(error.error_code)]


def type_names(tf: Any, error: BaseException) -> list[str]:
    return [name for name in CLASSES if isinstance(error, getattr(tf.errors, name))]


@program
def errors_are_made_of_node_operation_and_message(tf: Any, directory: str) -> Any:
    found: list[Any] = []
    for name, code in CLASSES.items():
        kind = getattr(tf.errors, name)
        try:
            raise kind(None, None, f"{name}: done")
        except tf.errors.OpError as error:
            found.append([isinstance(error, kind), *fields(error)])
            found.append(error.error_code == getattr(tf.errors, code))
        named = caught(lambda: raise_it(kind(node_def=None, op=None, message="named")))  # noqa: B023
        again = pickle.loads(pickle.dumps(named.error))  # noqa: S301 - its own
        found += [named, fields(named.error), type(again) is kind, fields(again)]
        found.append(tf.errors.exception_type_from_error_code(getattr(tf.errors, code)) is kind)
        found.append(int(tf.errors.error_code_from_exception_type(kind)))
    found.append(fields(tf.errors.OpError(None, None, "m", tf.errors.ABORTED)))
    found += [int(tf.errors.OK), tf.OpError is tf.errors.OpError]
    return found


@program
def errors_name_the_operation_that_failed(tf: Any, directory: str) -> Any:
    with graph(tf):
        op = tf.no_op(name="n")
        error = tf.errors.InvalidArgumentError(op.node_def, op, "m", {"key": "value"})
        return error.op is op, error.node_def.name, error.message, error.experimental_payloads


@program
def errors_are_caught_by_their_kind_only(tf: Any, directory: str) -> Any:
    def caught_by(raised: str) -> list[str]:
        return type_names(tf, getattr(tf.errors, raised)(None, None, "m"))

    with graph(tf), tf.Session() as sess:
        at, x = tf.placeholder(tf.int32, []), tf.placeholder(tf.float32)
        calls = (
            lambda: sess.run(tf.gather([1, 2], at), {at: 5}),
            lambda: sess.run(tf.matmul(x, x), {x: [[1.0, 2.0]]}),
            lambda: sess.run(tf.check_numerics(x, "bad"), {x: float("nan")}),
        )
        ran = [type_names(tf, caught(call).error) for call in calls]
    return ran, [caught_by(name) for name in CLASSES]


@program
def a_loop_ends_out_of_range(tf: Any, directory: str) -> Any:
    def batches() -> Any:
        yield from ([1.0], [2.0])
        raise tf.errors.OutOfRangeError(None, None, "no more")

    seen: list[Any] = []
    with graph(tf), tf.Session() as sess:
        x = tf.placeholder(tf.float32, [1])
        try:
            seen.extend(sess.run(x * 2.0, {x: batch}).tolist() for batch in batches())
        except tf.errors.OutOfRangeError as error:
            seen.append(error.message)
    return seen


@program
def what_is_raised_has_a_number(tf: Any, directory: str) -> Any:
    path = os.path.join(directory, "there")
    with open(path, "w", encoding="ascii") as file:
        file.write("x")
    with graph(tf), tf.Session() as sess:
        v = tf.get_variable("v", [1])
        x = tf.placeholder(tf.float32)
        missing = tf.train.Saver({"other": v})
        tf.add_to_collection("saved", v)
        sess.run(v.initializer)
        prefix = tf.train.Saver().save(sess, os.path.join(directory, "m"))
        w = tf.get_variable("w", [1])
        calls = (
            lambda: sess.run(w),
            lambda: missing.restore(sess, prefix),
            lambda: sess.run(tf.reshape(x, [3]), {x: [1.0, 2.0]}),
            lambda: tf.gfile.Open(os.path.join(directory, "none")).read(),
            lambda: tf.gfile.Copy(path, path),
        )
        found = [caught(call) for call in calls]
        return [[error, int(error.error.error_code)] for error in found]
