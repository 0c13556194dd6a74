"""The corpus of graphs and models: some built here, some that TensorFlow wrote, made smaller."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from google.protobuf import json_format, text_format

from ckptmgr._proto.control_flow_pb2 import CondContextDef, WhileContextDef
from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr._proto.tensor_pb2 import TensorProto
from ckptmgr._proto.types_pb2 import (
    DT_BOOL,
    DT_FLOAT,
    DT_INT32,
    DT_RESOURCE,
    DT_STRING,
    DataType,
)
from ckptmgr.compat import v1 as tf
from ckptmgr.formats.sealed_message import seal
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.meta_graph_files import decode_meta_graph
from ckptmgr.saved_model.directory import asset_files
from tests.fuzz import object_model
from tests.fuzz.checkpoints import staged
from tests.fuzz.models import MODEL_FILES, VARIABLES
from tests.fuzz.packing import pack

_GOLDEN = Path(__file__).parent.parent / "golden"


def meta_graphs() -> Iterable[tuple[str, bytes]]:
    built = _with_saver()
    yield "built", seal(_encoded(built))
    yield "partitioned", _encoded(_with_saver(partitioned=True))
    small = _small()
    yield "text", text_format.MessageToString(small).encode()
    yield "json", json_format.MessageToJson(small).encode()
    yield "loop", _encoded(_loop())
    yield "calls", _encoded(_calls())
    yield "reads", _encoded(_reads())
    yield "shapes", _encoded(_shapes())
    yield "golden", _encoded(_smaller(_golden_meta_graph("graphs/model.meta")))
    yield "functions", _encoded(_smaller(_golden_model("saved_model_tf2/module").meta_graphs[0]))


def saved_models() -> Iterable[tuple[str, bytes]]:
    yield "objects", _objects()
    for name, folder in (
        ("simple", "saved_model_tf1/simple"),
        ("table", "saved_model_tf1/export"),
        ("objects", "saved_model_tf2/module"),
    ):
        model = _golden_model(folder)
        del model.meta_graphs[1:]
        _smaller(model.meta_graphs[0])
        files = {2: _read(folder, MODEL_FILES[2]), 3: _read(folder, MODEL_FILES[3])}
        if name != "simple":
            files[4] = _read(folder, "assets/vocab_src.txt")
            # Where TensorFlow 2 lists them; TensorFlow 1 has them in a collection only.
            asset = asset_files(model.meta_graphs[0])[0]
            asset.filename = "vocab.txt"
            del model.meta_graphs[0].asset_file_def[:]
            model.meta_graphs[0].asset_file_def.append(asset)
        yield f"golden_{name}", pack({0: model.SerializeToString(deterministic=True), **files})
        if name == "simple":
            yield "text", pack({1: text_format.MessageToString(model).encode(), **files})


def _objects() -> bytes:
    index, shard = staged(object_model.tensors())
    model = object_model.model().SerializeToString(deterministic=True)
    return pack({0: model, 2: index, 3: shard, 4: b"a\nb\n"})


def _encoded(meta_graph: MetaGraphDef) -> bytes:
    return meta_graph.SerializeToString(deterministic=True)


def _read(folder: str, name: str) -> bytes:
    return (_GOLDEN / folder / name).read_bytes()


def _golden_meta_graph(path: str) -> MetaGraphDef:
    return decode_meta_graph((_GOLDEN / path).read_bytes())


def _golden_model(folder: str) -> SavedModel:
    return SavedModel.FromString(_read(folder, MODEL_FILES[0]))


def _smaller(meta_graph: MetaGraphDef) -> MetaGraphDef:
    """Without what follows from the rest, or only describes it."""
    del meta_graph.meta_info_def.stripped_op_list.op[2:]
    graph = meta_graph.graph_def
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    for number, node in enumerate(node for body in bodies for node in body):
        node.ClearField("experimental_debug_info")
        node.device = ""
        if number % 5:
            node.attr.pop("_output_shapes", None)
    for function in graph.library.function:
        function.arg_attr.clear()
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            argument.ClearField("handle_data")
            argument.ClearField("experimental_full_type")
    return meta_graph


# --------------------------------------------------------------------------- built here


def _with_saver(*, partitioned: bool = False) -> MetaGraphDef:
    with Graph().as_default() as graph:
        if partitioned:
            tf.get_variable("p", initializer=VARIABLES["p"], partitioner=_in_two)
        else:
            x = tf.placeholder(tf.float32, [None, 2], "x")
            w = tf.Variable(VARIABLES["w"], name="w", use_resource=True)
            b = tf.Variable(VARIABLES["b"], name="b", use_resource=False)
            tf.identity(tf.matmul(x, w) + b, name="y")
            tf.Variable(VARIABLES["step"], name="step", trainable=False)
            graph.add_to_collection("names", "y")
            graph.add_to_collection("numbers", 7)
        saver = tf.train.Saver()
        graph.add_to_collection("savers", saver)
        return _smaller(saver.export_meta_graph())


def _in_two(shape: object, dtype: object) -> list[int]:
    return [2, 1]


def _small() -> MetaGraphDef:
    with Graph().as_default():
        tf.Variable(VARIABLES["b"], name="b", use_resource=True)
        meta_graph: MetaGraphDef = tf.train.export_meta_graph()
        return _smaller(meta_graph)


def _shapes() -> MetaGraphDef:
    """Operations whose shapes follow from numbers in constants and attributes."""
    with Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4, 4, 3], "x")
        flat = tf.reshape(x, [-1, 48])
        sizes = tf.shape(x)
        tf.reshape(flat, tf.stack([sizes[0], 4, -1]))
        tf.split(flat, 2, axis=1)
        tf.split(flat, [8, -1], axis=1)
        tf.transpose(x, [0, 3, 1, 2])
        tf.squeeze(tf.expand_dims(flat, 1), [1])
        tf.pad(flat, [[0, 0], [1, 2]])
        tf.tile(flat, [1, 2])
        tf.gather(flat, [0, 1], axis=1)
        tf.concat([flat, flat], 1)
        tf.unstack(tf.zeros([2, 3]), axis=0)
        tf.reduce_sum(x, [1, 2], keepdims=True)
        tf.argmax(flat, 1)
        tf.one_hot([1, 2], 5)
        tf.range(0, 6, 2)
        tf.fill([2, 3], 1.0)
        tf.slice(flat, [0, 1], [-1, 2])
        tf.einsum("ij,kj->ik", flat, flat)
        tf.nn.conv2d(x, tf.zeros([3, 3, 3, 2]), strides=[1, 2, 2, 1], padding="SAME")
        tf.nn.max_pool(x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID")
        tf.space_to_batch_nd(x, [2, 2], [[0, 0], [0, 0]])
        tf.string_join(["a", "b"])
        tf.unique([1, 1])
        graph.add_to_collection("ends", flat)
        return _smaller(tf.train.export_meta_graph())


def _node(name: str, op: str, *inputs: str, dtype: DataType | None = None) -> NodeDef:
    node = NodeDef(name=name, op=op, input=inputs)
    if dtype is not None:
        node.attr["dtype" if op == "Const" else "T"].type = dtype
    return node


def _number(name: str, value: int, *inputs: str) -> NodeDef:
    node = _node(name, "Const", *inputs, dtype=DT_INT32)
    node.attr["value"].tensor.dtype = DT_INT32
    node.attr["value"].tensor.tensor_shape.SetInParent()
    node.attr["value"].tensor.int_val.append(value)
    return node


def _loop() -> MetaGraphDef:
    """`while i < 3: i += 1`, and a condition behind it, as TensorFlow 1 writes both."""
    meta_graph = MetaGraphDef()
    enter = _node("enter", "Enter", "zero", dtype=DT_INT32)
    enter.attr["frame_name"].s = b"frame"
    merge = _node("merge", "Merge", "enter", "next", dtype=DT_INT32)
    merge.attr["N"].i = 2
    joined = _node("joined", "Merge", "branch", "branch:1", dtype=DT_INT32)
    joined.attr["N"].i = 2
    meta_graph.graph_def.node.extend(
        [
            *(_number("zero", 0), enter, merge, _number("three", 3, "^merge")),
            _node("less", "Less", "merge", "three", dtype=DT_INT32),
            _node("go", "LoopCond", "less"),
            _node("switch", "Switch", "merge", "go", dtype=DT_INT32),
            _node("body", "Identity", "switch:1", dtype=DT_INT32),
            _number("one", 1, "^body"),
            _node("add", "AddV2", "body", "one", dtype=DT_INT32),
            _node("next", "NextIteration", "add", dtype=DT_INT32),
            _node("exit", "Exit", "switch", dtype=DT_INT32),
            _node("is", "Equal", "exit", "zero", dtype=DT_INT32),
            *(_node("branch", "Switch", "exit", "is", dtype=DT_INT32), joined),
        ]
    )
    loop = WhileContextDef(
        context_name="while", pivot_name="go", pivot_for_pred_name="less", loop_exit_names=["exit"]
    )
    loop.values_def.values.extend(["merge:0", "body:0"])
    cond = CondContextDef(context_name="cond", pred_name="is:0", pivot_name="branch:1", branch=1)
    cond.values_def.external_values["a"] = "exit:0"
    for key, context in (("while_context", loop), ("cond_context", cond)):
        stored = meta_graph.collection_def[key].bytes_list.value
        stored.append(context.SerializeToString(deterministic=True))
    meta_graph.collection_def["ends"].node_list.value.extend(["joined:0", "joined"])
    return meta_graph


def _calls() -> MetaGraphDef:
    """Functions that call each other, one with an attribute, one that never ends."""
    meta_graph = MetaGraphDef()
    library = meta_graph.graph_def.library.function
    same = _function("same", _node("y", "Identity", "x"))
    same.node_def[0].attr["T"].placeholder = "T"
    same.signature.attr.add(name="T", type="type").default_value.type = DT_FLOAT
    for argument in (same.signature.input_arg[0], same.signature.output_arg[0]):
        argument.ClearField("type")
        argument.type_attr = "T"
    outer = _function("outer", _call("y", "same", "x"))
    outer.control_ret["y"] = "y"
    endless = _function("endless", _call("y", "endless", "x"))
    library.extend([same, outer, endless])
    number = _node("x", "Const", dtype=DT_FLOAT)
    number.attr["value"].tensor.dtype = DT_FLOAT
    number.attr["value"].tensor.tensor_shape.dim.add(size=2)
    number.attr["value"].tensor.float_val.extend([1.0, 2.0])
    taken = _node("yes", "Const", dtype=DT_BOOL)
    taken.attr["value"].tensor.dtype = DT_BOOL
    taken.attr["value"].tensor.tensor_shape.SetInParent()
    chosen = _call("either", "outer", "yes", "x")
    chosen.op = "StatelessIf"
    chosen.attr["Tcond"].type = DT_BOOL
    chosen.attr["then_branch"].func.name = "outer"
    chosen.attr["else_branch"].func.name = "same"
    del chosen.attr["f"]
    direct = _node("direct", "same", "x", dtype=DT_FLOAT)
    nodes = [number, taken, _call("once", "outer", "x"), direct, chosen]
    meta_graph.graph_def.node.extend([*nodes, _call("forever", "endless", "x")])
    gradient = meta_graph.graph_def.library.gradient.add()
    gradient.function_name, gradient.gradient_func = "same", "same"
    return meta_graph


def _reads() -> MetaGraphDef:
    """A variable that functions read, and one that restores it, as TensorFlow 2 writes them."""
    meta_graph = MetaGraphDef()
    handle = _node("w", "VarHandleOp")
    handle.attr["dtype"].type = DT_FLOAT
    for size in VARIABLES["w"].shape:
        handle.attr["shape"].shape.dim.add(size=size)
    rows = _node("rows", "Const", dtype=DT_INT32)
    rows.attr["value"].tensor.CopyFrom(TensorProto(dtype=DT_INT32, int_val=[0, 1]))
    rows.attr["value"].tensor.tensor_shape.dim.add(size=2)
    path = _node("path", "Placeholder")
    path.attr["dtype"].type = DT_STRING
    read = _node("y", "ReadVariableOp", "x")
    read.attr["dtype"].type = DT_FLOAT
    gather = _node("g", "ResourceGather", "x", "rows:output:0")
    gather.attr["dtype"].type, gather.attr["Tindices"].type = DT_FLOAT, DT_INT32
    reading = _function("reading", read, rows, gather)
    reading.ret["out"] = "y:value:0"
    reading.signature.input_arg[0].type = DT_RESOURCE
    outer = _function("outer", _call("y", "reading", "x", dtype=DT_RESOURCE))
    outer.signature.input_arg[0].type = DT_RESOURCE
    graph = meta_graph.graph_def
    graph.library.function.extend([reading, outer, _restoring()])
    graph.node.extend([handle, path, _call("read", "outer", "w", dtype=DT_RESOURCE)])
    restore = _call("restore", "restoring", "path", "w")
    restore.attr["Tin"].list.type[:] = [DT_STRING, DT_RESOURCE]
    del restore.attr["Tout"].list.type[:]
    restore.attr["Tout"].list.SetInParent()
    graph.node.append(restore)
    saver = SaverDef(filename_tensor_name="path:0", save_tensor_name="read:0", version=SaverDef.V2)
    saver.restore_op_name = "restore"
    meta_graph.saver_def.CopyFrom(saver)
    return meta_graph


def _restoring() -> FunctionDef:
    names, slices = (_node(name, "Const", dtype=DT_STRING) for name in ("names", "slices"))
    for node, text in ((names, b"w"), (slices, b"")):
        node.attr["value"].tensor.CopyFrom(TensorProto(dtype=DT_STRING, string_val=[text]))
        node.attr["value"].tensor.tensor_shape.dim.add(size=1)
    restore = _node("r", "RestoreV2", "path", "names:output:0", "slices:output:0")
    restore.attr["dtypes"].list.type.append(DT_FLOAT)
    same = _node("same", "Identity", "r:tensors:0", dtype=DT_FLOAT)
    assign = _node("assign", "AssignVariableOp", "x", "same:output:0")
    assign.attr["dtype"].type = DT_FLOAT
    function = FunctionDef(node_def=[names, slices, restore, same, assign])
    function.signature.name = "restoring"
    function.signature.input_arg.add(name="path", type=DT_STRING)
    function.signature.input_arg.add(name="x", type=DT_RESOURCE)
    function.control_ret["assign"] = "assign"
    return function


def _function(name: str, *nodes: NodeDef) -> FunctionDef:
    function = FunctionDef(node_def=nodes)
    function.signature.name = name
    function.signature.input_arg.add(name="x", type=DT_FLOAT)
    function.signature.output_arg.add(name="out", type=DT_FLOAT)
    function.ret["out"] = "y:output:0"
    return function


def _call(name: str, function: str, *inputs: str, dtype: DataType = DT_FLOAT) -> NodeDef:
    node = _node(name, "StatefulPartitionedCall", *inputs)
    node.attr["f"].func.name = function
    node.attr["Tin"].list.type.append(dtype)
    node.attr["Tout"].list.type.append(DT_FLOAT)
    return node
