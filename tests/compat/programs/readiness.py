"""Programs that look at what gets a session ready."""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

import numpy as np

from tests.compat.programs.seeing import build, caught, graph, kept, program, saved

# --------------------------------------------------------------------------- SessionManager


@program
def a_session_is_prepared(tf: Any, directory: str) -> Any:
    found: list[Any] = []
    for _ in range(2):
        with graph(tf):
            _, w, step_op = build(tf)
            local = tf.get_variable("local", initializer=3.0, collections=["local_variables"])
            saver = tf.train.Saver([w])
            manager = tf.train.SessionManager(
                local_init_op=tf.group(local.initializer, tf.train.get_global_step().initializer),
                ready_op=tf.report_uninitialized_variables(),
                graph=tf.get_default_graph(),
            )
            sess = manager.prepare_session(
                "",
                init_op=tf.global_variables_initializer(),
                saver=saver,
                checkpoint_dir=directory,
                init_fn=lambda session, w=w: found.append(session.run(w).tolist()),
            )
            found.append(sess.run([w, local])[0].tolist())
            sess.run(step_op)
            saver.save(sess, os.path.join(directory, "model"), tf.train.get_global_step())
            found.append(list(map(os.path.basename, saver.last_checkpoints)))
            sess.close()
    return found


@program
def a_session_is_prepared_from_a_prefix(tf: Any, directory: str) -> Any:
    prefix = saved(tf, os.path.join(directory, "p"), w=[7.0, 8.0])
    with graph(tf):
        w = tf.get_variable("w", [2])
        sess = tf.train.SessionManager().prepare_session(
            "", saver=tf.train.Saver(), checkpoint_filename_with_path=prefix
        )
        return sess.run(w).tolist()


@program
def what_a_session_manager_refuses(tf: Any, directory: str) -> Any:
    with graph(tf):
        _, w, _ = build(tf)
        saver, other = tf.train.Saver(), tf.get_variable("other", [])
        ready = tf.report_uninitialized_variables()
        init = w.initializer
        manager = tf.train.SessionManager
        places = {"checkpoint_dir": directory, "checkpoint_filename_with_path": "x"}
        calls = (
            lambda: manager(ready_for_local_init_op=ready),
            lambda: manager().prepare_session("", saver=saver),
            lambda: manager().prepare_session("", init_op=init, **places),
            lambda: manager(ready_op=ready).prepare_session("", init_op=init),
            lambda: manager(tf.no_op(), ready_for_local_init_op=ready).prepare_session(
                "", init_op=init
            ),
            lambda: manager(ready_op=other).prepare_session("", init_op=init),
            lambda: manager(ready_op=tf.constant(3)).prepare_session("", init_op=init) and "ready",
            lambda: manager(ready_op=tf.no_op()).prepare_session("", init_op=init) and "ready",
            lambda: manager(ready_op=ready, recovery_wait_secs=1).wait_for_session(
                "", max_wait_secs=0
            ),
            lambda: manager().wait_for_session("") and "ready",
            lambda: manager().prepare_session(
                "", saver=saver, checkpoint_filename_with_path=os.path.join(directory, "none")
            ),
        )
        return [caught(call) for call in calls]


@program
def a_session_is_recovered(tf: Any, directory: str) -> Any:
    found: list[Any] = []
    with graph(tf):
        w = tf.get_variable("w", initializer=[1.0, 2.0])
        other = tf.get_variable("other", initializer=3.0)
        ready = tf.report_uninitialized_variables()
        all_of_it, some_of_it = tf.train.Saver(), tf.train.Saver([w])
        manager = tf.train.SessionManager(ready_op=ready, recovery_wait_secs=0.01)
        found.append(manager.recover_session("", all_of_it, directory)[1])
        found.append(
            manager.recover_session(
                "", all_of_it, directory, wait_for_checkpoint=True, max_wait_secs=0.02
            )[1]
        )
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            all_of_it.save(sess, os.path.join(directory, "m"), global_step=4)
        sess, is_ready = manager.recover_session("", all_of_it, directory)
        found += [is_ready, sess.run(other), list(map(os.path.basename, kept(tf, directory)))]
        found.append(manager.recover_session("", some_of_it, directory)[1])
        prefix = os.path.join(directory, "m-4")
        found.append(
            manager.recover_session("", all_of_it, checkpoint_filename_with_path=prefix)[1]
        )
        local = tf.train.SessionManager(other.initializer, ready)
        found.append(local.recover_session("", some_of_it, directory)[1])
        found.append(tf.train.SessionManager().recover_session("", all_of_it)[1])
    return found


@program
def a_checkpoint_is_waited_for(tf: Any, directory: str) -> Any:
    later, now = (os.path.join(directory, name) for name in ("later", "now"))
    with graph(tf):
        w = tf.get_variable("w", initializer=[1.0, 2.0])
        saver = tf.train.Saver(save_relative_paths=True)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            saver.save(sess, os.path.join(later, "m"), global_step=4)
        timer = threading.Timer(0.1, os.rename, (later, now))
        timer.start()
        manager = tf.train.SessionManager(recovery_wait_secs=0.02)
        sess = manager.prepare_session(
            "", w.assign([8.0, 9.0]), saver, now, wait_for_checkpoint=True, max_wait_secs=20
        )
        timer.join()
        return sess.run(w).tolist()


# --------------------------------------------------------------------------- Scaffold


@program
def a_scaffold_has_defaults(tf: Any, directory: str) -> Any:
    with graph(tf) as made:
        build(tf)
        scaffold = tf.train.Scaffold()
        before = [scaffold.init_op, scaffold.saver, scaffold.init_fn, scaffold.ready_op]
        finalized = scaffold.finalize()
        pieces = ("init_op", "ready_op", "ready_for_local_init_op", "local_init_op")
        keys = ("init_op", "ready_op", "ready_for_local_init_op", "local_init_op", "savers")
        return (
            before,
            finalized is scaffold,
            [getattr(scaffold, name).name for name in pieces],
            [len(made.get_collection(key)) for key in keys],
            scaffold.saver is made.get_collection("savers")[0],
            scaffold.summary_op,
            made.finalized,
            caught(tf.no_op),
            tf.train.Scaffold().finalize().init_op is scaffold.init_op,
        )


@program
def a_scaffold_takes_what_is_given(tf: Any, directory: str) -> Any:
    with graph(tf):
        _, w, _ = build(tf)
        seen: list[Any] = []
        x = tf.placeholder(tf.float32, [2])
        saver = tf.train.Saver([w], defer_build=False)
        first = tf.train.Scaffold(
            init_op=tf.group(w.assign(x), tf.train.get_global_step().initializer),
            init_feed_dict={x: [4.0, 5.0]},
            init_fn=lambda scaffold, session: seen.append(scaffold),
            local_init_op=tf.no_op(),
            saver=saver,
        )
        second = tf.train.Scaffold(copy_from_scaffold=first, saver=tf.train.Saver())
        with tf.train.MonitoredSession(tf.train.ChiefSessionCreator(second)) as sess:
            value = sess.run(w).tolist()
        return (
            value,
            seen == [second],
            second.saver is saver,
            second.init_op is first.init_op,
            caught(lambda: tf.train.Scaffold(copy_from_scaffold=3)),
        )


@program
def items_of_collections(tf: Any, directory: str) -> Any:
    with graph(tf):
        make = tf.train.Scaffold.get_or_default
        found = [make("a", "mine", lambda: 3), make("a", "mine", lambda: 4)]
        found.append(make("b", "none", lambda: None))
        tf.add_to_collection("mine", 5)
        found.append(caught(lambda: make("a", "mine", lambda: 6)))
        build(tf)
        for _ in range(2):
            tf.add_to_collection("savers", tf.train.Saver())
        found.append(caught(lambda: tf.train.Scaffold().finalize()))
        hook = tf.train.CheckpointSaverHook(directory, save_steps=1)
        found.append(caught(lambda: tf.train.MonitoredSession(hooks=[hook])))
        creator = tf.train.ChiefSessionCreator(tf.train.Scaffold(saver=tf.train.Saver()))
        found.append(caught(lambda: tf.train.MonitoredSession(creator, [hook])))
    with graph(tf):
        build(tf)
        creator = tf.train.ChiefSessionCreator(tf.train.Scaffold(saver=tf.train.Saver()))
        hook = tf.train.CheckpointSaverHook(directory, save_steps=1)
        found.append(caught(lambda: tf.train.MonitoredSession(creator, [hook])))
    return found


# --------------------------------------------------------------------------- smaller things


@program
def variables_are_warm_started(tf: Any, directory: str) -> Any:
    prefix = saved(tf, os.path.join(directory, "m"), **{"a/w": [1.0, 2.0], "a/b": 3.0, "c": 4.0})
    found: list[Any] = []
    for options in (
        {},
        {"vars_to_warm_start": "a/w"},
        {"vars_to_warm_start": ["c", "a/.*"]},
        {"vars_to_warm_start": None},
        {"vars_to_warm_start": ".*a/", "var_name_to_prev_var_name": {"a/b": "c"}},
        {"vars_to_warm_start": "by variable"},
        {"vars_to_warm_start": ["c", "d"], "var_name_to_prev_var_name": {"d": "c"}},
        {"vars_to_warm_start": 3},
        {"vars_to_warm_start": ["c", 3]},
        {"var_name_to_prev_var_name": {"unknown": "c"}},
        {"vars_to_warm_start": ".*", "var_name_to_prev_var_name": {"a/b": "a/x"}},
        {"vars_to_warm_start": ".*", "var_name_to_prev_var_name": {"a/b": "a/w"}},
    ):
        with graph(tf):
            with tf.variable_scope("a"):
                tf.get_variable("w", initializer=[-1.0, -1.0])
                tf.get_variable("b", initializer=-1.0)
            c = tf.get_variable("c", initializer=-1.0, trainable=False)
            tf.get_variable("d", initializer=-1.0, collections=["variables"], trainable=False)
            if options.get("vars_to_warm_start") == "by variable":
                options = {"vars_to_warm_start": [c]}  # noqa: PLW2901 - of this graph
            raised = caught(functools.partial(tf.train.warm_start, prefix, **options))
            with tf.Session() as sess:
                sess.run(tf.global_variables_initializer())
                values = [] if raised is not None else sess.run(tf.global_variables())
            found.append((raised, [value.tolist() for value in values]))
    return found


@program
def parts_are_warm_started(tf: Any, directory: str) -> Any:
    prefix = saved(tf, os.path.join(directory, "m"), whole=[1.0, 2.0, 3.0], other=[9.0, 8.0, 7.0])
    with graph(tf):
        divide = tf.fixed_size_partitioner(2)
        parts = tf.get_variable("whole", [3], partitioner=divide)
        tf.get_variable("again", [3], partitioner=divide)
        names = {"again": "other"}
        tf.train.warm_start(os.path.dirname(prefix), var_name_to_prev_var_name=names)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            return [value.tolist() for value in sess.run(list(parts) + tf.global_variables())]


@program
def what_can_be_a_global_step(tf: Any, directory: str) -> Any:
    with graph(tf):
        check = tf.train.assert_global_step
        found = [
            caught(functools.partial(check, value))
            for value in (
                tf.constant(1),
                tf.Variable(np.int64(1)),
                tf.placeholder(tf.int32),
                3,
                tf.constant(1.0),
                tf.constant([1, 2]),
            )
        ]
        tf.Variable(1.5, name="global_step")
        return [*found, caught(tf.train.get_global_step)]


@program
def a_state_is_generated(tf: Any, directory: str) -> Any:
    def fields(*arguments: Any, **options: Any) -> Any:
        state = tf.train.generate_checkpoint_state_proto(*arguments, **options)
        return (
            state.model_checkpoint_path,
            list(state.all_model_checkpoint_paths),
            list(state.all_model_checkpoint_timestamps),
            state.last_preserved_timestamp,
        )

    return [
        fields("/a", "/a/m-2", ["/a/m-1", "/a/m-2"]),
        fields("a", "a/m-2", ["a/m-1"], last_preserved_timestamp=4.0),
        fields("/a", "m-1", all_model_checkpoint_timestamps=[2.5]),
        caught(lambda: fields("a", "m", ["m"], all_model_checkpoint_timestamps=[1.0, 2.0])),
    ]
