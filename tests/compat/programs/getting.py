"""Programs that say more of a variable than its name, shape and initializer."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from tests.compat.programs.building import nodes
from tests.compat.programs.seeing import caught, graph, program


def placed(tf: Any) -> list[Any]:
    """What each node is, and where."""
    return [
        [*node, made.device]
        for node, made in zip(nodes(tf), tf.get_default_graph().as_graph_def().node, strict=True)
    ]


def noting(calls: list[Any], name: str) -> Callable[..., Any]:
    """A getter that notes what it is asked for."""

    def getter(getter: Any, *args: Any, **kwargs: Any) -> Any:
        named = {key: getattr(value, "name", repr(value)) for key, value in kwargs.items()}
        calls.append([name, list(args), named])
        return getter(*args, **kwargs)

    return getter


def renaming(suffix: str) -> Callable[..., Any]:
    def getter(getter: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        return getter(name + suffix, *args, **kwargs)

    return getter


@program
def averages_take_the_place_of_variables(tf: Any, directory: str) -> Any:
    def model(**options: Any) -> Any:
        with tf.variable_scope("m", **options):
            w = tf.get_variable("w", [2], initializer=tf.ones_initializer())
            with tf.variable_scope("inner"):
                b = tf.get_variable("b", initializer=[3.0, 4.0])
            return w * b, [w.op.name, b.op.name]

    with graph(tf), tf.Session() as sess:
        trained, names = model()
        average = tf.train.ExponentialMovingAverage(0.5)
        changes = [v.assign_add([1.0, 1.0]) for v in tf.trainable_variables()]
        with tf.control_dependencies(changes):
            step = average.apply()

        def ema_getter(getter: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            variable = getter(name, *args, **kwargs)
            shadow = average.average(variable)
            return variable if shadow is None else shadow

        averaged, averaged_names = model(reuse=True, custom_getter=ema_getter)
        sess.run(tf.global_variables_initializer())
        sess.run(step)
        saver = tf.train.Saver()
        prefix = saver.save(sess, os.path.join(directory, "m"))
        seen = [value.tolist() for value in sess.run([trained, averaged])]
        sess.run(tf.global_variables_initializer())
        saver.restore(sess, prefix)
        seen += [value.tolist() for value in sess.run([trained, averaged])]
        return names, averaged_names, seen, tf.train.list_variables(prefix)


@program
def getters_of_several_scopes_are_composed(tf: Any, directory: str) -> Any:
    calls: list[Any] = []

    def noted(name: str) -> Any:
        return noting(calls, name)

    def asked() -> list[Any]:
        made, order = list(calls), [call[0] for call in calls]
        calls.clear()
        return [made[-1][2]["name"], *order]

    found: list[Any] = []
    with graph(tf):
        with tf.variable_scope("a", custom_getter=noted("outer")) as outer:
            tf.get_variable("v", [1])
            found.append(asked())
            with tf.variable_scope("b", custom_getter=noted("inner")):
                tf.get_variable("v", [1])
                found.append(asked())
                tf.get_variable("own", [1], custom_getter=noted("own"))
                found.append(asked())
                with tf.variable_scope("c"):
                    tf.get_variable("v", [1])
                    found.append(asked())
                with tf.variable_scope(outer, custom_getter=noted("again")):
                    tf.get_variable("w", [1])
                    found.append(asked())
        with tf.variable_scope(outer):
            tf.get_variable("x", [1])
            found.append(asked())
        with tf.variable_scope("d"):
            tf.get_variable_scope().set_custom_getter(noted("set"))
            tf.get_variable("v", [1])
            found.append(asked())
            found.append(tf.get_variable_scope().custom_getter is not None)
        tf.get_variable("free", [1])
        return found, calls, [v.name for v in tf.global_variables()]


@program
def what_a_getter_is_asked_for(tf: Any, directory: str) -> Any:
    calls: list[Any] = []
    with graph(tf), tf.variable_scope("s", custom_getter=noting(calls, "noted")):
        tf.get_variable("plain", [2])
        tf.get_variable("value", initializer=[1, 2])
        tf.get_variable("whole", [2], tf.int32, trainable=False, collections=["c"])
        with tf.variable_scope("again", reuse=tf.AUTO_REUSE, dtype=tf.float64, use_resource=True):
            tf.get_variable("v", (2,), validate_shape=False, caching_device="/cpu:0")
        tf.get_variable(
            "on_read",
            [1],
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
        )
        listed = {
            key: [v.op.name for v in tf.get_collection(key)] for key in ("c", "trainable_variables")
        }
        return [
            [call[1], {k: v for k, v in call[2].items() if "0x" not in v}] for call in calls
        ], listed


@program
def getters_give_something_else(tf: Any, directory: str) -> Any:
    def half(getter: Any, *args: Any, **kwargs: Any) -> Any:
        return tf.cast(getter(*args, **kwargs), tf.float16, name="half")

    def nothing(getter: Any, *args: Any, **kwargs: Any) -> Any:
        return None

    def masked(getter: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        kept = getter(name, *args, **kwargs)
        options = {**kwargs, "initializer": tf.ones_initializer(), "trainable": False}
        return kept * getter(f"{name}_mask", *args, **options)

    with graph(tf), tf.Session() as sess:
        with tf.variable_scope("m", custom_getter=half):
            w = tf.get_variable("w", initializer=[1.0, 2.0])
            with tf.variable_scope("n", custom_getter=renaming("_renamed")):
                v = tf.get_variable("v", [2], initializer=tf.ones_initializer())
        with tf.variable_scope("masks", custom_getter=masked):
            u = tf.get_variable("u", [2], initializer=tf.zeros_initializer())
        missing = tf.get_variable("none", [1], custom_getter=nothing)
        sess.run(tf.global_variables_initializer())
        return (
            [value.tolist() for value in sess.run([w, v, u])],
            [w.dtype.name, v.name, missing],
            [[v.name, v.trainable] for v in tf.global_variables()],
            nodes(tf),
        )


@program
def getters_ask_again_and_otherwise(tf: Any, directory: str) -> Any:
    def bare(getter: Any, name: str, **kwargs: Any) -> Any:
        # Whoever does not pass `reuse` on takes what is there, or makes it.
        return getter(f"{name}_bare", shape=[3])

    def in_order(getter: Any, name: str, shape: Any, dtype: Any, initializer: Any, **_: Any) -> Any:
        return getter(name, shape, dtype, initializer)

    def divided(getter: Any, name: str, **kwargs: Any) -> Any:
        return getter(name, **{**kwargs, "partitioner": tf.fixed_size_partitioner(2)})

    with graph(tf):
        options = {"custom_getter": bare}
        first = tf.get_variable("v", [1], **options)
        found = [
            tf.get_variable("v", [1], **options) is first,
            first.op.name,
            first.shape.as_list(),
        ]
        whole = tf.get_variable("w", [4], custom_getter=in_order)
        parts = tf.get_variable("p", [4], custom_getter=divided)
        found += [whole.op.name, [part.op.name for part in parts]]
        bound = functools.partial(renaming("_bound"))
        found.append(tf.get_variable("b", [1], custom_getter=bound).op.name)
        for wrong in (3, "text"):
            with tf.variable_scope("s", custom_getter=wrong):
                found.append(caught(lambda: tf.get_variable("wrong", [1])))
        found.append(caught(lambda: tf.get_variable("w", [4], custom_getter=divided)))
        return found


@program
def getters_that_take_no_constraint_get_none(tf: Any, directory: str) -> Any:
    def without(
        getter: Any,
        name: str,
        shape: Any,
        dtype: Any,
        initializer: Any,
        regularizer: Any,
        reuse: Any,
        trainable: Any,
        collections: Any,
        caching_device: Any,
        partitioner: Any,
        validate_shape: Any,
        use_resource: Any,
        synchronization: Any,
        aggregation: Any,
    ) -> Any:
        return getter(name, shape, dtype, initializer)

    def taking(getter: Any, constraint: Any, **kwargs: Any) -> Any:
        return getter(constraint=constraint, **kwargs)

    with graph(tf):
        return [
            getattr(
                tf.get_variable(name, [1], constraint=abs, custom_getter=by).constraint,
                "__name__",
                0,
            )
            for name, by in (("a", without), ("b", taking))
        ]


@program
def other_functions_ask_getters_too(tf: Any, directory: str) -> Any:
    with graph(tf):
        with tf.variable_scope("", custom_getter=renaming("_mine")):
            step = tf.train.create_global_step()
            local = tf.get_local_variable("local", [1])
        return step.op.name, local.op.name, step.aggregation.name


@program
def a_constraint_is_kept(tf: Any, directory: str) -> Any:
    def largest(value: Any) -> Any:
        return tf.clip_by_value(value, 0.0, 1.0)

    with graph(tf):
        with tf.variable_scope("s", constraint=largest) as scope:
            found = [tf.get_variable("a", [1]).constraint is largest, scope.constraint is largest]
            with tf.variable_scope("inner"):
                found.append(tf.get_variable("b", [1]).constraint)
        with tf.variable_scope(scope):
            found.append(tf.get_variable("c", [1]).constraint)
        v = tf.Variable([1.0], constraint=largest)
        found += [v.constraint is largest, tf.Variable(1.0).constraint]
        found.append(caught(lambda: tf.Variable(1.0, constraint=3)))
        found.append(caught(lambda: tf.get_variable("d", [1], constraint="abs")))
        divided = tf.get_variable(
            "p", [2], constraint=largest, partitioner=tf.fixed_size_partitioner(2)
        )
        found += [part.constraint is largest for part in divided]
        back = tf.Variable.from_proto(v.to_proto()) if not hasattr(v, "handle") else v
        return [*found, back is not v and back.constraint]


@program
def a_variable_is_cached_on_a_device(tf: Any, directory: str) -> Any:
    with graph(tf), tf.Session() as sess:
        with tf.device("/job:localhost/task:0"):
            beside = tf.get_variable("beside", [1])
            cached = tf.get_variable(
                "v", [1], initializer=tf.zeros_initializer(), caching_device="/cpu:0"
            )
        with tf.variable_scope("s", caching_device="/cpu:0") as scope:
            inner = tf.get_variable("inner", initializer=[1.0])
        made = tf.Variable([2.0], caching_device=lambda op: "/device:CPU:0")
        changed = cached.assign_add([1.0])
        set_to = tf.assign(cached, [5.0])
        with tf.colocate_with(beside):
            read = cached.read_value()
        with tf.control_dependencies([changed.op]):
            after = cached * 1.0
        total = cached + inner + made
        sess.run(tf.global_variables_initializer())
        seen = [sess.run(item).tolist() for item in (after, total, read, set_to, total)]
        message = cached.to_proto()
        again = type(cached).from_proto(message)
        return [
            seen if hasattr(cached, "handle") else seen[1:],
            scope.caching_device,
            message.snapshot_name,
            again.value().name,
            again.to_proto().snapshot_name,
            placed(tf),
        ]


@program
def variables_say_how_replicas_share_them(tf: Any, directory: str) -> Any:
    read, mean = tf.VariableSynchronization.ON_READ, tf.VariableAggregation.MEAN
    with graph(tf):
        variables = [
            tf.get_variable("plain", [1]),
            tf.get_variable("read", [1], synchronization=read, aggregation=mean),
            tf.Variable([1.0], synchronization=read, trainable=True, name="trained"),
            tf.Variable([1.0], synchronization=2, aggregation=3, name="numbers"),
            tf.Variable([1.0], synchronization=None, aggregation=None, name="none"),
        ]
        found = [
            [v.synchronization.name, v.aggregation.value, v.trainable, str(v.to_proto())]
            for v in variables
        ]
        back = type(variables[1]).from_proto(variables[1].to_proto())
        found.append([back.synchronization is read, back.aggregation == mean, back.trainable])
        found.append([v.op.name for v in tf.trainable_variables()])
        found.append(caught(lambda: tf.Variable(1.0, synchronization=7)))
        found.append(caught(lambda: tf.get_variable("wrong", [1], aggregation="all")))
        found.append(tf.VariableAggregation.ONLY_FIRST_TOWER.value)
        return found


@program
def a_variable_is_made_of_its_message(tf: Any, directory: str) -> Any:
    with graph(tf), tf.Session() as sess:
        v = tf.Variable([1.0, 2.0], trainable=False, name="v")
        message = v.to_proto()
        before = len(tf.get_default_graph().get_operations())
        again = tf.Variable(variable_def=message)
        found = [again.name, again.trainable, again.value().name, len(tf.global_variables())]
        found.append(len(tf.get_default_graph().get_operations()) - before)
        found.append(caught(lambda: tf.Variable([1.0], variable_def=message)))
        with tf.name_scope("outer"):
            tf.Variable([3.0], name="w")
        inner = tf.global_variables("outer")[0].to_proto(export_scope="outer")
        taken = tf.Variable(variable_def=inner, import_scope="outer")
        expected = tf.Variable([1.0], expected_shape=[7], name="expected")
        sess.run(tf.global_variables_initializer())
        values = [value.tolist() for value in sess.run([again, taken, expected])]
        return [*found, inner.variable_name, taken.name, values]


@program
def variables_of_a_scope_are_of_its_kind(tf: Any, directory: str) -> Any:
    with graph(tf):
        found = []
        for use_resource in (True, False, None):
            with tf.variable_scope("s", use_resource=use_resource):
                found.append(hasattr(tf.Variable(1.0), "handle"))
                found.append(hasattr(tf.Variable(1.0, use_resource=True), "handle"))
        return found


@program
def a_scope_that_is_entered_again_is_what_it_was(tf: Any, directory: str) -> Any:
    with graph(tf):
        with tf.variable_scope("a") as scope:
            tf.get_variable("v", [1])
        with tf.variable_scope("b"):
            tf.get_variable("v", [1])
        with tf.variable_scope("b", reuse=True):
            with tf.variable_scope(scope):
                found = [scope.reuse, tf.get_variable_scope().reuse]
                found.append(tf.get_variable("new", [1]).op.name)
            found.append(caught(lambda: tf.get_variable("new", [1])))
        made = tf.VariableScope(reuse=None, name="made", initializer=tf.ones_initializer())
        with tf.variable_scope(made):
            first = tf.get_variable("v", [1])
            found.append(tf.get_variable("v", [1]) is first)
        return found, [v.op.name for v in made.global_variables()]


@program
def dtypes_and_values_agree(tf: Any, directory: str) -> Any:
    with graph(tf):
        found = [
            tf.get_variable("named", dtype=tf.float32, initializer=[1.0]).dtype.base_dtype.name,
            tf.get_variable("whole", initializer=[1, 2]).dtype.base_dtype.name,
            caught(lambda: tf.get_variable("wrong", dtype=tf.int32, initializer=[1.0])),
        ]
        divide = tf.fixed_size_partitioner(2)
        for shape, value in (([2], [1, 2]), (None, tf.constant([1, 2]))):
            name = f"p{len(found)}"
            divided = tf.get_variable(name, shape, initializer=value, partitioner=divide)
            found.append([divided.dtype.name, [part.dtype.base_dtype.name for part in divided]])
        with tf.variable_scope("", reuse=True):
            found.append(caught(lambda: tf.get_variable("whole", initializer=[1, 2])))
            found.append(caught(lambda: tf.get_variable("named", [1], initializer=[1.0])))
        return found, nodes(tf)
