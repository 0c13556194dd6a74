"""Programs whose sessions save, and what is there afterwards."""

from __future__ import annotations

import os
from typing import Any

from tests.compat.programs.seeing import build, caught, files_of, graph, kept, program, train


@program
def saves_every_so_many_steps(tf: Any, directory: str) -> Any:
    first = train(tf, directory, 7, save_checkpoint_steps=3)
    found = files_of(directory), kept(tf, directory)
    second = train(tf, directory, 12, save_checkpoint_steps=3)
    latest = tf.train.latest_checkpoint(directory)
    w = tf.train.load_variable(latest, "w")
    return first, found, second, files_of(directory), kept(tf, directory), w.tolist()


@program
def saves_every_so_many_seconds(tf: Any, directory: str) -> Any:
    often, rarely, default = (os.path.join(directory, name) for name in ("a", "b", "c"))
    train(tf, often, 3, save_checkpoint_secs=1e-9)
    train(tf, rarely, 3, save_checkpoint_secs=1000)
    train(tf, default, 3)
    return kept(tf, often), kept(tf, rarely), kept(tf, default)


@program
def saves_never(tf: Any, directory: str) -> Any:
    train(tf, directory, 3, save_checkpoint_secs=None)
    train(tf, directory, 3, save_checkpoint_secs=None, save_checkpoint_steps=None)
    train(tf, directory, 3, save_checkpoint_steps=0)
    train(tf, directory, 3, save_checkpoint_secs=-1)
    return files_of(directory)


@program
def saves_without_a_graph(tf: Any, directory: str) -> Any:
    deep = os.path.join(directory, "a", "b")
    train(tf, deep, 3, save_checkpoint_steps=2, save_graph_def=False)
    return files_of(directory)


@program
def both_intervals_are_refused(tf: Any, directory: str) -> Any:
    return caught(lambda: train(tf, directory, 3, save_checkpoint_steps=2, save_checkpoint_secs=2))


@program
def a_resumed_run_that_is_done(tf: Any, directory: str) -> Any:
    train(tf, directory, 4, save_checkpoint_steps=3)
    train(tf, directory, 4, save_checkpoint_steps=3)
    return kept(tf, directory)


@program
def steps_from_where_it_begins(tf: Any, directory: str) -> Any:
    found = []
    for _ in range(2):
        with graph(tf):
            _, _, step_op = build(tf)
            hooks = [tf.train.StopAtStepHook(num_steps=3)]
            with tf.train.MonitoredTrainingSession(
                checkpoint_dir=directory, hooks=hooks, save_checkpoint_steps=100
            ) as sess:
                while not sess.should_stop():
                    sess.run(step_op)
        found.append(kept(tf, directory))
    return found


@program
def several_steps_in_one_run(tf: Any, directory: str) -> Any:
    with graph(tf):
        step = tf.train.get_or_create_global_step()
        # 24 + 1 is enough for the hook to look again, whether it was told 16 or 24.
        hooks = [tf.train.StopAtStepHook(last_step=25)]
        jump = step.assign_add(8)
        runs = 0
        with tf.train.MonitoredTrainingSession(
            checkpoint_dir=directory, hooks=hooks, save_checkpoint_steps=10
        ) as sess:
            while not sess.should_stop():
                sess.run(jump)
                runs += 1
    return runs, kept(tf, directory)


@program
def an_imported_graph_is_trained_on(tf: Any, directory: str) -> Any:
    train(tf, directory, 4, save_checkpoint_steps=3)
    with graph(tf) as made:
        tf.train.import_meta_graph(tf.train.latest_checkpoint(directory) + ".meta")
        before = len(made.get_operations())
        hooks = [tf.train.StopAtStepHook(last_step=6)]
        with tf.train.MonitoredTrainingSession(
            checkpoint_dir=directory, hooks=hooks, save_checkpoint_steps=100
        ) as sess:
            after = len(made.get_operations())
            while not sess.should_stop():
                sess.run("group_deps")
        values = tf.train.load_variable(directory, "w").tolist()
    return after - before, values, kept(tf, directory)


@program
def the_path_of_a_model_is_bytes(tf: Any, directory: str) -> Any:
    found: list[Any] = []
    for number, as_text in enumerate((False, True)):
        folder = os.path.join(directory, str(number))
        made = (tf.saved_model.Builder, tf.saved_model.builder.SavedModelBuilder)[number](folder)
        with graph(tf), tf.Session() as sess:
            v = tf.get_variable("v", [1])
            sess.run(v.initializer)
            made.add_meta_graph_and_variables(sess, ["serve"])
            path = made.save(as_text=as_text)
        found.append(os.path.relpath(path.decode(), directory))
        found.append(tf.saved_model.loader.maybe_saved_model_directory(folder))
        with graph(tf), tf.Session() as sess:
            found.append(
                len(tf.saved_model.loader.load(sess, ["serve"], folder).graph_def.node) > 0
            )
    found.append(tf.saved_model.loader.maybe_saved_model_directory(export_dir=directory))
    return found
