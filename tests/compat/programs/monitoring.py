"""Programs that look at the order of calls, at what ends a session, and at lost ones."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

from tests.compat.programs.seeing import (
    build,
    caught,
    files_of,
    graph,
    kept,
    listening,
    noting,
    program,
    raising,
    train,
    variable,
)

# --------------------------------------------------------------------------- the order of calls


@program
def the_order_of_calls(tf: Any, directory: str) -> Any:
    calls: list[Any] = []
    with graph(tf) as made:
        _, _, step_op = build(tf)
        x = tf.placeholder(tf.float32, [], "x")
        scaffold: Any = tf.train.Scaffold(
            init_fn=lambda found, session: calls.append(
                ("init", found is scaffold, session.run(variable(tf, "w")).tolist())
            )
        )
        saving = tf.train.CheckpointSaverHook(
            directory, save_steps=2, scaffold=scaffold, listeners=[listening(tf, calls)]
        )
        with tf.train.MonitoredTrainingSession(
            checkpoint_dir=directory,
            scaffold=scaffold,
            hooks=[noting(tf, calls, "first"), tf.train.StopAtStepHook(last_step=3)],
            chief_only_hooks=[noting(tf, calls, "chief"), saving],
            save_checkpoint_secs=None,
        ) as sess:
            calls.append(("finalized", made.finalized))
            while not sess.should_stop():
                calls.append(("got", sess.run([step_op, x], {"x:0": 4.0})))
        calls.append(("finalized", made.finalized))
    return calls


@program
def a_listener_ends_it(tf: Any, directory: str) -> Any:
    calls: list[Any] = []
    with graph(tf):
        _, _, step_op = build(tf)
        saving = tf.train.CheckpointSaverHook(
            directory,
            save_steps=2,
            listeners=[listening(tf, calls, stops_at=4), listening(tf, calls)],
            checkpoint_basename="own",
        )
        with tf.train.SingularMonitoredSession([saving]) as sess:
            while not sess.should_stop():
                sess.run(step_op)
    return calls, kept(tf, directory)


def _ended_by(tf: Any, directory: str, error: Callable[[], BaseException]) -> Any:
    calls: list[Any] = []
    hooks = [noting(tf, calls), raising(tf, {2: error})]
    return caught(lambda: train(tf, directory, 9, hooks, save_checkpoint_steps=5)), calls


@program
def ended_by_an_error(tf: Any, directory: str) -> Any:
    return _ended_by(tf, directory, lambda: ZeroDivisionError("why")), kept(tf, directory)


@program
def ended_by_the_end_of_input(tf: Any, directory: str) -> Any:
    def error() -> BaseException:
        made: BaseException = tf.errors.OutOfRangeError(None, None, "no more")
        return made

    return _ended_by(tf, directory, error), kept(tf, directory)


@program
def ended_by_stop_iteration(tf: Any, directory: str) -> Any:
    return _ended_by(tf, directory, StopIteration), kept(tf, directory)


@program
def ended_by_the_body(tf: Any, directory: str) -> Any:
    def body() -> None:
        with graph(tf):
            _, _, step_op = build(tf)
            with tf.train.MonitoredTrainingSession(checkpoint_dir=directory) as sess:
                sess.run(step_op)
                raise LookupError("of the body")

    return caught(body), kept(tf, directory)


# --------------------------------------------------------------------------- sessions that are lost


@program
def a_session_that_is_lost_is_made_again(tf: Any, directory: str) -> Any:
    calls: list[Any] = []
    lost = {
        3: lambda: tf.errors.AbortedError(None, None, "lost"),
        6: lambda: tf.errors.UnavailableError(None, None, "lost"),
    }
    hooks = [noting(tf, calls), raising(tf, lost)]
    values = train(tf, directory, 6, hooks, save_checkpoint_steps=2)
    return values, calls, kept(tf, directory)


@program
def a_singular_session_is_not_made_again(tf: Any, directory: str) -> Any:
    def run() -> None:
        with graph(tf):
            _, _, step_op = build(tf)
            hook = raising(tf, {1: lambda: tf.errors.AbortedError(None, None, "lost")})
            with tf.train.SingularMonitoredSession([hook]) as sess:
                sess.run(step_op)

    return caught(run)


@program
def a_session_that_a_thread_fails(tf: Any, directory: str) -> Any:
    calls: list[Any] = []

    class Failing(tf.train.SessionRunHook):  # type: ignore[misc]
        def after_create_session(self, session: Any, coord: Any) -> None:
            def fail() -> None:
                with coord.stop_on_exception():
                    raise KeyError("of the thread")

            thread = threading.Thread(target=fail)
            coord.register_thread(thread)
            thread.start()
            thread.join()

    def run(kind: Any) -> None:
        with graph(tf):
            _, _, step_op = build(tf)
            with kind(hooks=[Failing()]) as sess:
                calls.append(caught(sess.should_stop))
                calls.append(sess.run(step_op))

    kinds = (tf.train.MonitoredSession, tf.train.SingularMonitoredSession)
    return [caught(functools.partial(run, kind)) for kind in kinds], calls


# --------------------------------------------------------------------------- sessions


@program
def a_session_by_itself(tf: Any, directory: str) -> Any:
    with graph(tf) as made:
        step, w, step_op = build(tf)
        sess = tf.train.MonitoredSession()
        found = [sess.graph is made, sess.should_stop(), sess.run([w, step])[1]]
        sess.run(step_op)
        found.append(sess.run({"w": w, "more": (step, [step])}))
        sess.close()
        found += [sess.should_stop(), sess.graph is None, caught(sess.close), made.finalized]
    return [found[0], found[1], found[2], found[3]["w"].tolist(), found[3]["more"], found[4:]]


@program
def a_graph_that_was_finalized_before(tf: Any, directory: str) -> Any:
    with graph(tf) as made:
        step, _, _ = build(tf)
        tf.train.Scaffold().finalize()
        with tf.train.MonitoredSession() as sess:
            value = sess.run(step)
        return value, made.finalized


@program
def a_run_after_the_end(tf: Any, directory: str) -> Any:
    with graph(tf):
        _, _, step_op = build(tf)
        hooks = [tf.train.StopAtStepHook(num_steps=1)]
        with tf.train.MonitoredSession(hooks=hooks) as sess:
            sess.run(step_op)
            return sess.should_stop(), caught(lambda: sess.run(step_op))


@program
def a_raw_session_is_saved(tf: Any, directory: str) -> Any:
    with graph(tf):
        _, _, step_op = build(tf)
        saver = tf.train.Saver()
        prefix = os.path.join(directory, "mine")
        with tf.train.SingularMonitoredSession() as sess:
            sess.run(step_op)
            saver.save(sess.raw_session(), prefix)
    with graph(tf):
        _, w, _ = build(tf)
        with tf.train.SingularMonitoredSession(checkpoint_filename_with_path=prefix) as sess:
            return sess.run(w).tolist()


@program
def a_step_by_a_function(tf: Any, directory: str) -> Any:
    calls: list[Any] = []
    with graph(tf):
        step, _, step_op = build(tf)

        def make(step_context: Any) -> Any:
            step_context.run_with_hooks(step_op)
            value = step_context.session.run(step)
            if value == 2:
                step_context.request_stop()
            return value

        with tf.train.MonitoredSession(hooks=[noting(tf, calls)]) as sess:
            calls.append(sess.run_step_fn(make))
            calls.append(caught(lambda: sess.run_step_fn(lambda wrong: None)))
            calls.append(caught(lambda: sess.run_step_fn(lambda step_context, more: None)))
            sess.run_step_fn(make)
            calls.append("not reached")
    return calls


@program
def a_worker_waits(tf: Any, directory: str) -> Any:
    with graph(tf):
        build(tf)
        creator = tf.train.WorkerSessionCreator(max_wait_secs=0)
        first = caught(lambda: tf.train.MonitoredSession(creator))
    with graph(tf):
        build(tf)
        # Ready at once, as nothing is to be looked for.
        scaffold = tf.train.Scaffold(
            ready_op=tf.constant([], tf.string), ready_for_local_init_op=tf.constant([], tf.string)
        )
        calls: list[Any] = []
        with tf.train.MonitoredTrainingSession(
            is_chief=False,
            checkpoint_dir=directory,
            scaffold=scaffold,
            hooks=[tf.train.SessionRunHook()],
            chief_only_hooks=[noting(tf, calls)],
        ) as sess:
            found = sess.run(tf.train.get_global_step().initializer)
    return first, found, calls, files_of(directory)


@program
def a_worker_and_a_chief(tf: Any, directory: str) -> Any:
    """Which creator takes what."""
    with graph(tf):
        build(tf)
        chief = tf.train.ChiefSessionCreator(
            scaffold=None, master="", config=tf.ConfigProto(), checkpoint_dir=directory
        )
        both = tf.train.ChiefSessionCreator(
            checkpoint_dir=directory, checkpoint_filename_with_path="x"
        )
        with tf.train.MonitoredSession(chief) as sess:
            found = sess.run(variable(tf, "w")).tolist()
        return found, caught(lambda: tf.train.MonitoredSession(both))


@program
def sums_of_feeds(tf: Any, directory: str) -> Any:
    with graph(tf):
        x, y = (tf.placeholder(tf.float32, [], name) for name in "xy")
        total = tf.add(x, y)
        first = tf.train.FeedFnHook(lambda: {x: 1.0})
        found = []
        with tf.train.MonitoredSession(hooks=[first]) as sess:
            found.append(sess.run(total, {y: 2.0}))
            found.append(caught(lambda: sess.run(total, {x: 2.0, y: 1.0})))
        with tf.train.MonitoredSession(hooks=[first, tf.train.FeedFnHook(lambda: {x: 2.0})]) as s:
            found.append(caught(lambda: s.run(total, {y: 2.0})))
    return found
