"""Programs that look at hooks one by one."""

from __future__ import annotations

import functools
import logging
import re
import threading
import time
from typing import Any

from tests.compat.programs.seeing import build, caught, graph, program


@program
def what_hooks_refuse(tf: Any, directory: str) -> Any:
    train = tf.train
    loss = "w:0"
    found = [
        caught(call)
        for call in (
            train.StopAtStepHook,
            lambda: train.StopAtStepHook(1, 2),
            lambda: train.CheckpointSaverHook(directory),
            lambda: train.CheckpointSaverHook(directory, save_secs=1, save_steps=1),
            lambda: train.CheckpointSaverHook(directory, 1, saver=1, scaffold=2),
            train.SecondOrStepTimer,
            lambda: train.SecondOrStepTimer(1, 2),
            lambda: train.StepCounterHook(every_n_steps=None),
            lambda: train.StepCounterHook(every_n_secs=1),
            lambda: train.LoggingTensorHook([loss]),
            lambda: train.LoggingTensorHook([loss], 1, 1),
            lambda: train.LoggingTensorHook([loss], every_n_iter=0),
        )
    ]
    hooks = (
        train.StopAtStepHook(1),
        train.CheckpointSaverHook(directory, 1),
        train.GlobalStepWaiterHook(1),
        train.StepCounterHook(),
        train.LoggingTensorHook(["unknown"], 1),
        train.LoggingTensorHook(["two"], 1),
        train.LoggingTensorHook([3], 1),
    )
    for hook in hooks:
        with graph(tf):
            tf.split([1, 2], 2, name="two")
            found.append(caught(hook.begin))
    return found


@program
def a_timer(tf: Any, directory: str) -> Any:
    steps, secs = tf.train.SecondOrStepTimer(every_steps=3), tf.train.SecondOrStepTimer(1e6)
    often = tf.train.SecondOrStepTimer(every_secs=1e-9)
    often.update_last_triggered_step(5)
    found: list[Any] = [often.should_trigger_for_step(step) for step in (5, 6)]
    for timer in (steps, secs):
        found += [timer.last_triggered_step(), timer.should_trigger_for_step(5)]
        found.append(timer.update_last_triggered_step(5))
        found += [timer.should_trigger_for_step(step) for step in (5, 7, 8, 100)]
        elapsed, count = timer.update_last_triggered_step(9)
        found += [elapsed >= 0, count, timer.last_triggered_step()]
        timer.reset()
        found += [timer.should_trigger_for_step(9), timer.last_triggered_step()]
    return found


class _Lines(logging.Handler):
    def __init__(self, pattern: str) -> None:
        super().__init__()
        self.pattern = re.compile(pattern)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if self.pattern.search(record.getMessage()):
            self.lines.append(f"{record.levelname} {record.getMessage()}")


def logged(tf: Any, pattern: str, hooks: Any, runs: int) -> list[str]:
    """The lines that TensorFlow's logger gets of some runs."""
    lines = _Lines(pattern)
    logger = tf.get_logger() if hasattr(tf, "get_logger") else tf.logging.get_logger()
    before = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        with graph(tf):
            _, _, step_op = build(tf)
            tf.constant([0.5, 2.5], name="double")
            with tf.train.SingularMonitoredSession(hooks=hooks) as sess:
                for _ in range(runs):
                    sess.run(step_op)
    finally:
        logger.removeHandler(lines)
        logger.setLevel(before)
    return [re.sub(r"\d+\.\d+ sec\)", "SECS)", line) for line in lines.lines]


@program
def tensors_are_logged(tf: Any, directory: str) -> Any:
    hook = tf.train.LoggingTensorHook
    twice = [hook(["double"], every_n_iter=100)]
    return [
        [len(logged(tf, "double", twice, 1)) for _ in range(2)],
        logged(tf, "double", [hook(["double:0"], every_n_iter=2)], 4),
        logged(tf, "twice", [hook({"twice": "double:0"}, every_n_secs=1e6)], 3),
        logged(tf, "ab", [hook({"ab": "double", "aa": "double:0"}, at_end=True)], 2),
        logged(tf, "made", [hook(["double"], 2, formatter=lambda v: f"made {sorted(v)}")], 3),
        len(logged(tf, "double", [hook(["double"], every_n_iter=2, at_end=True)], 5)),
    ]


@program
def steps_per_second_are_logged(tf: Any, directory: str) -> Any:
    lines = logged(tf, "global_step/sec", [tf.train.StepCounterHook(every_n_steps=2)], 7)
    return [re.sub(r": .*", "", line) for line in lines]


@program
def a_loss_that_is_no_number(tf: Any, directory: str) -> Any:
    found: list[Any] = []
    for fails in (True, False):
        with graph(tf):
            _, _, step_op = build(tf)
            x = tf.placeholder(tf.float32, [], "x")
            loss = tf.log(x)
            hook = tf.train.NanTensorHook(loss, fail_on_nan_loss=fails)
            with tf.train.MonitoredSession(hooks=[hook]) as sess:
                sess.run(step_op, {x: 1.0})
                found.append(sess.should_stop())
                error = caught(functools.partial(sess.run, step_op, {x: -1.0}))
                found += [error, sess.should_stop()]
            if fails:
                found.append(isinstance(error.error, tf.train.NanLossDuringTrainingError))
                found.append(str(error.error))
    return found


@program
def something_is_computed_at_the_end(tf: Any, directory: str) -> Any:
    with graph(tf):
        _, w, step_op = build(tf)
        x = tf.placeholder(tf.float32, [2])
        hooks = [
            tf.train.FinalOpsHook({"w": w, "sum": w + x}, {x: [1.0, 1.0]}),
            tf.train.FinalOpsHook(None),
        ]
        before = hooks[0].final_ops_values
        with tf.train.MonitoredSession(hooks=hooks) as sess:
            sess.run(step_op)
        values = {name: value.tolist() for name, value in hooks[0].final_ops_values.items()}
        return before, values, hooks[1].final_ops_values


@program
def a_step_is_waited_for(tf: Any, directory: str) -> Any:
    calls: list[Any] = []
    with graph(tf):
        step, _, step_op = build(tf)

        class Advancing(tf.train.SessionRunHook):  # type: ignore[misc]
            def after_create_session(self, session: Any, coord: Any) -> None:
                def advance() -> None:
                    time.sleep(0.1)
                    for _ in range(3):
                        session.run(step_op)
                    calls.append("advanced")

                self.thread = threading.Thread(target=advance)
                self.thread.start()

            def end(self, session: Any) -> None:
                self.thread.join()

        with tf.train.MonitoredSession(
            hooks=[Advancing(), tf.train.GlobalStepWaiterHook(3), tf.train.GlobalStepWaiterHook(0)]
        ) as sess:
            calls.append(("step", int(sess.run(step))))
            calls.append(("step", int(sess.run(step))))
    return sorted(map(str, calls))
