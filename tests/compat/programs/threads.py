"""Programs that look at threads: coordinators, and the Supervisor that saves from one."""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

import numpy as np

from tests.compat.programs.seeing import build, caught, files_of, graph, kept, program, raise_it

# --------------------------------------------------------------------------- threads


@program
def threads_stop_together(tf: Any, directory: str) -> Any:
    coord = tf.train.Coordinator()
    counted = [0, 0]

    def count(number: int) -> None:
        while not coord.should_stop():
            counted[number] += 1
            if counted[1] > 100:
                coord.request_stop()

    threads = [threading.Thread(target=count, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    coord.join(threads)
    found = [coord.should_stop(), coord.joined, coord.wait_for_stop(0), counted[1] > 100]
    coord.clear_stop()
    return [*found, coord.should_stop(), coord.joined, coord.wait_for_stop(0.01)]


@program
def a_thread_fails(tf: Any, directory: str) -> Any:
    coord = tf.train.Coordinator()

    def fail() -> None:
        with coord.stop_on_exception():
            raise KeyError("of the thread")

    thread = threading.Thread(target=fail)
    thread.start()
    found = [caught(lambda: coord.join([thread])), caught(coord.raise_requested_exception)]

    def once_more() -> None:
        with coord.stop_on_exception():
            raise_it(LookupError("afterwards"))

    found += [caught(once_more), caught(coord.request_stop)]
    coord.clear_stop()
    return [*found, caught(coord.raise_requested_exception), caught(coord.join)]


@program
def errors_that_mean_the_end(tf: Any, directory: str) -> Any:
    found = []
    for types, error in (
        (None, tf.errors.OutOfRangeError(None, None, "end")),
        ([StopIteration], StopIteration()),
        ([StopIteration], tf.errors.OutOfRangeError(None, None, "end")),
        ([], ValueError("v")),
    ):
        coord = tf.train.Coordinator(types)
        with coord.stop_on_exception():
            raise_it(error)
        found.append((coord.should_stop(), caught(coord.join)))
    return found


@program
def a_thread_that_does_not_stop(tf: Any, directory: str) -> Any:
    coord, release = tf.train.Coordinator(), threading.Event()
    thread = threading.Thread(target=release.wait)
    coord.register_thread(thread)
    thread.start()
    coord.request_stop()
    try:
        found = [caught(lambda: coord.join(stop_grace_period_secs=0.05))]
        coord.register_thread(thread)
        found.append(coord.join(stop_grace_period_secs=0.05, ignore_live_threads=True))
    finally:
        release.set()
        thread.join()
    return found


@program
def a_thread_that_loops(tf: Any, directory: str) -> Any:
    coord = tf.train.Coordinator()
    calls: list[Any] = []

    def call(name: str, last: int) -> None:
        calls.append(name)
        if len(calls) == last:
            coord.request_stop()

    for interval in (None, 0.001):
        calls.clear()
        coord.clear_stop()
        looper = tf.train.LooperThread.loop(coord, interval, call, ("x",), {"last": 5})
        coord.join([looper])
        found = len(calls), looper.daemon
    return (
        found,
        caught(lambda: tf.train.LooperThread(3, 1)),
        caught(lambda: tf.train.LooperThread(coord, 1, args=(1,))),
    )


# --------------------------------------------------------------------------- Supervisor


@program
def a_supervisor(tf: Any, directory: str) -> Any:
    found: list[Any] = []
    deep = os.path.join(directory, "a", "b")
    for last_step in (3, 5):
        with graph(tf) as made:
            step, w, step_op = build(tf)
            supervisor = tf.train.Supervisor(logdir=deep, save_model_secs=1000, summary_op=None)
            found += [made.finalized, supervisor.is_chief, os.path.isdir(deep)]
            found.append(os.path.basename(supervisor.save_path))
            with supervisor.managed_session() as sess:
                while not supervisor.should_stop():
                    if sess.run(step) >= last_step:
                        supervisor.request_stop()
                    else:
                        sess.run(step_op)
                found.append(sess.run(w).tolist())
                supervisor.saver.save(sess, supervisor.save_path, global_step=step)
            found += [supervisor.coord.joined, caught(functools.partial(sess.run, step))]
    names = files_of(deep)
    # A thread saves at the beginning, whenever that is; the program saves at the end.
    return found, [name for name in names if "-3." in name or "-5." in name], "graph.pbtxt" in names


@program
def a_supervisor_without_its_thread(tf: Any, directory: str) -> Any:
    with graph(tf):
        _, w, step_op = build(tf)
        supervisor = tf.train.Supervisor(logdir=directory, init_fn=lambda sess: sess.run(step_op))
        sess = supervisor.prepare_or_wait_for_session(start_standard_services=False)
        found = [sess.run(w).tolist(), supervisor.should_stop(), files_of(directory)]
        supervisor.stop()
        found += [supervisor.should_stop(), kept(tf, directory)]
        supervisor.prepare_or_wait_for_session(start_standard_services=False)
        return [*found, supervisor.should_stop()]


@program
def a_supervisor_saves_from_a_thread(tf: Any, directory: str) -> Any:
    with graph(tf):
        build(tf)
        supervisor = tf.train.Supervisor(
            logdir=directory, save_model_secs=0.01, checkpoint_basename="mine"
        )
        ticks: list[int] = []
        with supervisor.managed_session():
            supervisor.loop(0.005, ticks.append, (1,))
            for _ in range(500):
                if kept(tf, directory) and len(ticks) > 2:
                    break
                supervisor.coord.wait_for_stop(0.02)
        return kept(tf, directory), len(ticks) > 2


@program
def what_a_supervisor_has(tf: Any, directory: str) -> Any:
    with graph(tf):
        step, _, _ = build(tf)
        init = tf.no_op()
        supervisor = tf.train.Supervisor(
            init_op=init, saver=None, local_init_op=None, ready_op=None, init_feed_dict={"1": 2}
        )
        return (
            supervisor.init_op is init,
            supervisor.saver,
            supervisor.ready_op,
            supervisor.ready_for_local_init_op,
            supervisor.init_feed_dict,
            supervisor.global_step is step,
            supervisor.summary_op,
            supervisor.summary_writer,
            supervisor.save_path,
            supervisor.save_model_secs,
            supervisor.save_summaries_secs,
            isinstance(supervisor.session_manager, tf.train.SessionManager),
            isinstance(supervisor.coord, tf.train.Coordinator),
        )


@program
def what_a_supervisor_makes(tf: Any, directory: str) -> Any:
    with graph(tf) as made:
        tf.Variable(np.int64(3), name="global_step", trainable=False, collections=["variables"])
        supervisor = tf.train.Supervisor()
        keys = ("ready_op", "init_op", "local_init_op", "savers", "global_step")
        name = getattr(supervisor.global_step, "name", None)
        return name, [len(made.get_collection(key)) for key in keys]


@program
def what_a_supervisor_refuses(tf: Any, directory: str) -> Any:
    found = []
    with graph(tf):
        build(tf)
        supervisor = tf.train.Supervisor(summary_op=None)
        with supervisor.managed_session() as sess:
            found.append(supervisor.start_standard_services(sess))
            found.append(caught(lambda: supervisor.summary_computed(sess, b"")))
    with graph(tf), tf.device("/job:a"):
        build(tf)
        worker = tf.train.Supervisor(is_chief=False, recovery_wait_secs=1, logdir=directory)
        found += [worker.save_path, worker.save_model_secs]
        found.append(caught(lambda: worker.start_standard_services(None)))
    return found


@program
def what_ends_a_supervisor(tf: Any, directory: str) -> Any:
    def fails(error: BaseException) -> Any:
        def run() -> None:
            with graph(tf):
                build(tf)
                with tf.train.Supervisor().managed_session():
                    raise error

        return caught(run)

    def is_not_ready() -> None:
        with graph(tf):
            build(tf)
            with tf.train.Supervisor(init_op=None, local_init_op=None).managed_session():
                raise AssertionError

    end = tf.errors.OutOfRangeError(None, None, "end")
    return fails(end), fails(LookupError("body")), caught(is_not_ready)
