"""What the programs here have in common: how they are found, what they build, how they look at it.

Each takes the module `tf` and a directory, and returns what it saw: values, names of files, the
order of calls, errors. The tests run them with TensorFlow's module and with ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Program = Callable[[Any, str], Any]

#: The programs by name.
PROGRAMS: dict[str, Program] = {}


def program(function: Program) -> Program:
    assert function.__name__ not in PROGRAMS
    PROGRAMS[function.__name__] = function
    return function


class Raised:
    """An error, of which the type counts."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __repr__(self) -> str:
        return f"Raised({self.error!r})"


def caught(call: Callable[[], Any]) -> Any:
    """What a call returns, or raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the comparison judges it
        return Raised(error)


@contextmanager
def graph(tf: Any) -> Iterator[Any]:
    with tf.Graph().as_default() as made:
        yield made


def build(tf: Any) -> tuple[Any, Any, Any]:
    """The step, a variable, and the operation that makes one step."""
    step = tf.train.get_or_create_global_step()
    w = tf.get_variable("w", [2], initializer=tf.zeros_initializer())
    return step, w, tf.group(w.assign_add([0.5, 1.0]), step.assign_add(1))


def variable(tf: Any, name: str) -> Any:
    return next(item for item in tf.global_variables() if item.op.name == name)


def files_of(directory: str) -> list[str]:
    """The names of the files that both write; shards without their count."""
    names = (
        os.path.relpath(os.path.join(folder, name), directory)
        for folder, _, found in os.walk(directory)
        for name in found
    )
    return sorted(
        re.sub(r"-of-\d{5}$", "", name)
        for name in names
        if ".ckptmgr" not in name and "tfevents" not in name
    )


def kept(tf: Any, directory: str) -> list[str]:
    state = tf.train.get_checkpoint_state(directory)
    return [] if state is None else list(map(os.path.basename, state.all_model_checkpoint_paths))


def noting(tf: Any, calls: list[Any], name: str = "hook") -> Any:
    """A hook that notes its calls."""

    class Noting(tf.train.SessionRunHook):  # type: ignore[misc]
        def begin(self) -> None:
            calls.append((name, "begin", tf.get_default_graph().finalized))

        def after_create_session(self, session: Any, coord: Any) -> None:
            calls.append((name, "created", session.graph.finalized, coord.should_stop()))

        def before_run(self, run_context: Any) -> Any:
            calls.append((name, "before", run_context.original_args.feed_dict))
            return tf.train.SessionRunArgs({"w": variable(tf, "w")})

        def after_run(self, run_context: Any, run_values: Any) -> None:
            calls.append((name, "after", sorted(run_values.results), run_context.stop_requested))

        def end(self, session: Any) -> None:
            calls.append((name, "end", session.run(tf.train.get_global_step())))

    return Noting()


def listening(tf: Any, calls: list[Any], stops_at: int = -1) -> Any:
    """A listener that notes its calls, and asks for the end at a step."""

    class Listening(tf.train.CheckpointSaverListener):  # type: ignore[misc]
        def begin(self) -> None:
            calls.append("listener begin")

        def before_save(self, session: Any, global_step_value: int) -> None:
            calls.append(("before save", global_step_value))

        def after_save(self, session: Any, global_step_value: int) -> Any:
            calls.append(("after save", global_step_value, session.run(variable(tf, "w")).tolist()))
            return global_step_value == stops_at

        def end(self, session: Any, global_step_value: int) -> None:
            calls.append(("listener end", global_step_value))

    return Listening()


def raising(tf: Any, errors: dict[int, Callable[[], BaseException]]) -> Any:
    """A hook that raises after the run of a number."""

    class Raising(tf.train.SessionRunHook):  # type: ignore[misc]
        runs = 0

        def after_run(self, run_context: Any, run_values: Any) -> None:
            self.runs += 1
            make = errors.get(self.runs)
            if make is not None:
                raise make()

    return Raising()


def train(tf: Any, directory: str, last_step: int, hooks: Any = (), **options: Any) -> Any:
    """Train until a step; returns the values at the end."""
    with graph(tf):
        _, w, step_op = build(tf)
        session = tf.train.MonitoredTrainingSession(
            checkpoint_dir=directory,
            hooks=[tf.train.StopAtStepHook(last_step=last_step), *hooks],
            **options,
        )
        with session as sess:
            values = None
            while not sess.should_stop():
                sess.run(step_op)
                values = sess.run(w) if not sess.should_stop() else values
    return None if values is None else values.tolist()


def raise_it(error: BaseException) -> None:
    raise error


def saved(tf: Any, prefix: str, **values: Any) -> str:
    with graph(tf), tf.Session() as sess:
        for name, value in values.items():
            tf.get_variable(name, initializer=value)
        sess.run(tf.global_variables_initializer())
        path: str = tf.train.Saver().save(sess, prefix)
        return path
