"""Programs that ask for variables, change them, and take graphs in."""

from __future__ import annotations

import os
from typing import Any

from tests.compat.programs.seeing import caught, files_of, graph, program, saved


def nodes(tf: Any) -> list[Any]:
    """What each node is, takes, and is placed with."""
    return [
        [
            node.name,
            node.op,
            list(node.input),
            [group.decode() for group in node.attr["_class"].list.s],
        ]
        for node in tf.get_default_graph().as_graph_def().node
    ]


@program
def changes_of_changes_happen_one_after_the_other(tf: Any, directory: str) -> Any:
    with graph(tf), tf.Session() as sess:
        v = tf.get_variable("v", [2], initializer=tf.zeros_initializer())
        sess.run(tf.global_variables_initializer())
        changes = (
            tf.assign_add(tf.assign_add(v, [1.0, 1.0]), [1.0, 2.0]),
            tf.assign_sub(tf.assign(v, [5.0, 5.0]), [1.0, 1.0]),
            tf.assign(tf.assign_add(v, [1.0, 1.0]), [9.0, 9.0]),
            tf.scatter_add(tf.scatter_update(v, [1], [4.0]), [0], [1.0]),
        )
        return [
            (changed.op.type, sess.run(changed).tolist(), sess.run(v).tolist())
            for changed in changes
        ]


@program
def changed_variables_are_read_in_one_operation(tf: Any, directory: str) -> Any:
    with graph(tf):
        v = tf.get_variable("v", [2], initializer=tf.zeros_initializer())
        tf.scatter_add(v, [0], [1.0])
        names = [tf.assign(v, [1.0, 1.0]).name]
        if hasattr(v, "handle"):
            v.assign_add([1.0, 1.0]).read_value()
            names.append(v.assign_sub([1.0, 1.0]).name)
        return names, nodes(tf)


@program
def rows_are_gathered_without_the_others(tf: Any, directory: str) -> Any:
    with graph(tf), tf.Session() as sess:
        w = tf.get_variable("w", [3, 2], initializer=tf.ones_initializer())
        found = [
            tf.gather(w, [0, 1]),
            tf.gather(w, tf.constant([1]), name="named"),
            tf.gather(w, [0], axis=1),
            tf.gather_nd(w, [[0, 1]]),
            tf.gather_nd(w, [[0]], name="elements"),
            tf.nn.embedding_lookup(w, [0, 2]),
        ]
        sess.run(tf.global_variables_initializer())
        return [value.tolist() for value in sess.run(found)], nodes(tf)


@program
def operations_are_placed_with_a_variable(tf: Any, directory: str) -> Any:
    with graph(tf):
        w = tf.get_variable("w", [2], regularizer=lambda value: tf.square(value, name="loss"))
        with tf.colocate_with(w):
            tf.no_op(name="beside")
        # TensorFlow asks the regularizer twice, and keeps what it made the second time.
        return [node for node in nodes(tf) if not node[0].startswith("loss")]


@program
def waiting_for_a_variable_does_not_read_it(tf: Any, directory: str) -> Any:
    with graph(tf), tf.Session() as sess:
        v = tf.get_variable("v", [2], initializer=tf.zeros_initializer())
        changed = v.assign_add([1.0, 1.0])
        with tf.control_dependencies([v, changed]):
            tf.no_op(name="after")
        tf.group(v, changed, v.initializer, name="all")
        with tf.control_dependencies([v]):
            initializes = tf.group(v.initializer)
        sess.run(initializes)
        return sess.run(v).tolist(), nodes(tf)


@program
def a_divided_variable_is_taken_again(tf: Any, directory: str) -> Any:
    with graph(tf):
        divide = tf.fixed_size_partitioner(2)
        divided = tf.get_variable("divided", [4], partitioner=divide)
        tf.get_variable("whole", [4])
        found = [
            caught(lambda: tf.get_variable("divided", [4])),
            caught(lambda: tf.get_variable("whole", [4], partitioner=divide)),
        ]
        with tf.variable_scope("", reuse=True):
            found += [
                tf.get_variable("divided", [4]) is divided,
                tf.get_variable("divided", [4], partitioner=divide) is divided,
                caught(lambda: tf.get_variable("divided", [5])),
                caught(lambda: tf.get_variable("whole", [4], partitioner=divide)),
            ]
        with tf.variable_scope("", reuse=tf.AUTO_REUSE):
            found.append(caught(lambda: tf.get_variable("divided", [4])))
        return found


@program
def a_scope_is_reused_or_not(tf: Any, directory: str) -> Any:
    with graph(tf):
        return caught(lambda: tf.variable_scope("a", reuse=3).__enter__())


@program
def local_variables_are_listed_with_the_others(tf: Any, directory: str) -> Any:
    with graph(tf), tf.Session() as sess:
        one = tf.get_local_variable("one", [1], tf.float32, tf.ones_initializer())
        tf.get_local_variable(
            "two", initializer=[2.0], trainable=True, collections=[tf.GraphKeys.METRIC_VARIABLES]
        )
        sess.run(tf.local_variables_initializer())
        keys = ("LOCAL_VARIABLES", "METRIC_VARIABLES", "TRAINABLE_VARIABLES")
        return [
            [item.op.name for item in tf.get_collection(getattr(tf.GraphKeys, key))] for key in keys
        ], sess.run(one).tolist()


@program
def none_of_several_global_steps_is_taken(tf: Any, directory: str) -> Any:
    with graph(tf):
        for name in ("a", "b"):
            with tf.variable_scope(name):
                step = tf.get_variable("global_step", [], tf.int64, trainable=False)
            tf.add_to_collection(tf.GraphKeys.GLOBAL_STEP, step)
        made = tf.train.get_or_create_global_step()
        return tf.train.get_global_step(), made.op.name


@program
def what_a_meta_graph_is_asked_for(tf: Any, directory: str) -> Any:
    path = os.path.join(directory, "graph.meta")
    with graph(tf):
        tf.get_variable("v", [1])
        tf.identity(tf.placeholder(tf.float32, [1], "x"), name="y")
        tf.add_to_collection("texts", "text")
        tf.train.Saver().export_meta_graph(path)
    found: list[Any] = []
    for options in ({}, {"return_elements": ["y:0"]}, {"return_elements": ["none:0"]}):
        with graph(tf):
            saver = caught(lambda: tf.train.import_meta_graph(path, **options))  # noqa: B023
            named = hasattr(saver, "as_saver_def")
            found.append(saver.as_saver_def().save_tensor_name if named else saver)
    with graph(tf):
        tf.train.import_meta_graph(path, import_scope="inner")
        found += [repr(text) for text in tf.get_collection("texts")]
    return found


@program
def a_graph_is_imported_with_every_argument(tf: Any, directory: str) -> Any:
    with graph(tf) as made:
        tf.constant(1.0, name="c")
    with graph(tf) as taken:
        tf.import_graph_def(
            made.as_graph_def(),
            input_map=None,
            return_elements=None,
            name="prefix",
            op_dict=None,
            producer_op_list=None,
        )
        return [op.name for op in taken.get_operations()]


@program
def a_graph_is_not_cut_where_it_has_no_node(tf: Any, directory: str) -> Any:
    with graph(tf) as made:
        tf.constant(1.0, name="c")
        cut = tf.graph_util.extract_sub_graph
        return [
            caught(lambda: cut(made.as_graph_def(), ["c"]).node[0].name),
            caught(lambda: cut(made.as_graph_def(), ["c:0"])),
        ]


@program
def checkpoints_are_removed_and_read_by_name(tf: Any, directory: str) -> Any:
    first, second = (saved(tf, os.path.join(directory, name), w=[1.0]) for name in "ab")
    reader = tf.train.NewCheckpointReader(filepattern=first)
    tf.train.remove_checkpoint(first, tf.train.SaverDef.V2, "meta")
    tf.train.remove_checkpoint(checkpoint_prefix=second, checkpoint_format_version=2)
    return reader.has_tensor("w"), files_of(directory)


@program
def a_model_is_looked_for_by_name(tf: Any, directory: str) -> Any:
    return [
        tf.saved_model.contains_saved_model(export_dir=directory),
        tf.saved_model.maybe_saved_model_directory(export_dir=directory),
    ]


@program
def a_saver_wants_a_session(tf: Any, directory: str) -> Any:
    with graph(tf):
        tf.get_variable("v", [1])
        saver = tf.train.Saver()
        late = tf.train.Saver(defer_build=True)
        return [
            caught(lambda: saver.save("sess", os.path.join(directory, "a"))),
            caught(lambda: saver.save(None, os.path.join(directory, "a"))),
            caught(lambda: late.save(None, os.path.join(directory, "a"))),
        ]


@program
def a_session_wants_a_target_and_options(tf: Any, directory: str) -> Any:
    options = tf.ConfigProto(allow_soft_placement=True)
    with graph(tf):
        tf.no_op(name="n")
        wrong: list[dict[str, Any]] = [
            {"config": 3},
            {"config": {}},
            {"config": tf.RunOptions()},
            {"target": 3},
            {"target": options},
        ]
        found = [caught(lambda: tf.Session(**given)) for given in wrong]  # noqa: B023
        for right in ({"target": None}, {"target": b""}, {"config": options}, {"config": None}):
            with tf.Session(**right) as sess:
                found.append(sess.run("n"))
        return found


@program
def checkpoints_are_taken_over_as_a_list(tf: Any, directory: str) -> Any:
    with graph(tf):
        tf.get_variable("v", [1])
        saver = tf.train.Saver()
        found = [
            caught(lambda: saver.set_last_checkpoints("text")),
            caught(lambda: saver.set_last_checkpoints(("a", "b"))),
            caught(lambda: saver.set_last_checkpoints_with_time("text")),
            saver.last_checkpoints,
        ]
        saver.set_last_checkpoints(["a", "b"])
        found.append(saver.last_checkpoints)
        saver.set_last_checkpoints_with_time([("c", 1.0)])
        return [*found, saver.last_checkpoints]


@program
def errors_have_a_message(tf: Any, directory: str) -> Any:
    with graph(tf), tf.Session() as sess:
        v = tf.get_variable("v", [1])
        calls = (
            lambda: sess.run(v),
            lambda: tf.train.NewCheckpointReader(os.path.join(directory, "none")),
            lambda: tf.gfile.Open(os.path.join(directory, "none")).read(),
        )
        return [bool(caught(call).error.message) for call in calls]
