"""Changes of nodes and functions; `graphs` picks among them."""

from __future__ import annotations

from operator import itemgetter
from random import Random

from ckptmgr._proto.attr_value_pb2 import AttrValue
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.tensor_pb2 import TensorProto
from tests.fuzz.graph_parts import (
    DTYPES,
    NESTED,
    TYPES,
    bodies,
    body_of,
    function_name,
    functions_of,
    node_of,
    tensor_name,
)
from tests.fuzz.mutation import mutate_bytes, mutate_int, mutate_message, mutate_text

# To be added to a shape. NumPy has a limit for dimensions, and TensorFlow another one.
_MORE_SIZES = (
    *((1,), (3,), (2, 3), (0,), (-1,), (-2,), (1,) * 80, (1,) * 300),
    *((2**20,), (2**31, 2**31), (2**62, 2**62)),
)

# --------------------------------------------------------------------------- nodes


def change_input(meta_graph: MetaGraphDef, random: Random) -> None:
    body = body_of(meta_graph, random)
    if not body:
        return
    node = random.choice(body)
    match random.randrange(5):
        case 0 if node.input:
            del node.input[random.randrange(len(node.input))]
        case 1:
            node.input.append(tensor_name(body, random))
        case 2:
            node.input.insert(0, tensor_name(body, random))
        case 3 if node.input:
            node.input.extend([random.choice(node.input)] * random.choice((1, 3, 100)))
        case _ if node.input:
            node.input[random.randrange(len(node.input))] = tensor_name(body, random)


def change_type(meta_graph: MetaGraphDef, random: Random) -> None:
    node = node_of(meta_graph, random)
    used = [other.op for body in bodies(meta_graph) for other in body]
    other = random.choice(used or TYPES) if random.random() < 0.4 else random.choice(TYPES)
    node.op = function_name(meta_graph, random) if random.random() < 0.1 else other


def change_attr(meta_graph: MetaGraphDef, random: Random) -> None:
    node = node_of(meta_graph, random)
    attrs = [
        item
        for body in bodies(meta_graph)
        for other in body
        for item in sorted(other.attr.items(), key=itemgetter(0))
    ]
    keys = sorted(node.attr)
    match random.randrange(6):
        case 0 if keys:
            del node.attr[random.choice(keys)]
        case 1 if attrs:
            key, value = random.choice(attrs)
            node.attr[key].CopyFrom(value)
        case 2 if attrs and keys:
            node.attr[random.choice(keys)].CopyFrom(random.choice(attrs)[1])
        case 3 if keys:
            _set_dtype(node.attr[random.choice(keys)], random)
        case 4 if keys:
            _nest_attr(node.attr[random.choice(keys)], random)
        case _ if keys:
            mutate_message(node.attr[random.choice(keys)], random)


def _set_dtype(value: AttrValue, random: Random) -> None:
    if value.WhichOneof("value") == "list" and value.list.type:
        value.list.type[random.randrange(len(value.list.type))] = random.choice(DTYPES)
    else:
        value.type = random.choice(DTYPES)


def _nest_attr(value: AttrValue, random: Random) -> None:
    """Functions with attributes that are functions, as deep as a parser lets pass, or deeper."""
    for number in range(random.choice(NESTED)):
        value.func.name = f"f{number}"
        value = value.func.attr["f"]


def change_tensor(meta_graph: MetaGraphDef, random: Random) -> None:
    """Let shape, dtype and content of a constant contradict each other."""
    tensors = [
        value.tensor
        for body in bodies(meta_graph)
        for node in body
        for _, value in sorted(node.attr.items())
        if value.HasField("tensor")
    ]
    if tensors:
        _contradict(random.choice(tensors), random)


def _contradict(tensor: TensorProto, random: Random) -> None:
    dims = tensor.tensor_shape.dim
    match random.randrange(7):
        case 0:
            tensor.dtype = random.choice(DTYPES)
        case 1 if dims:
            dim = random.choice(dims)
            dim.size = min(max(mutate_int(dim.size, random), -(2**63)), 2**63 - 1)
        case 2:
            for size in random.choice(_MORE_SIZES):
                dims.add(size=size)
        case 3:
            tensor.tensor_content = mutate_bytes(tensor.tensor_content, random)
        case 4:
            del dims[:]
        case 5:
            tensor.tensor_content = b""
        case _:
            mutate_message(tensor, random)


def change_count(meta_graph: MetaGraphDef, random: Random) -> None:
    """Let a node or a function have very many inputs or outputs, or fewer than none."""
    values = [
        value
        for body in bodies(meta_graph)
        for node in body
        for key, value in sorted(node.attr.items(), key=itemgetter(0))
        if key in _COUNTS or value.WhichOneof("value") == "i"
    ]
    counts = (-1, 0, 1, 3, 1000, 2**13, 2**16 - 1, 2**16, 2**31 - 1, 2**62)
    if values:
        random.choice(values).i = random.choice(counts)


_COUNTS = ("N", "num", "num_split")


def change_shape(meta_graph: MetaGraphDef, random: Random) -> None:
    value = node_of(meta_graph, random).attr[random.choice(("shape", "_output_shapes", "shapes"))]
    shape = value.shape
    if value.WhichOneof("value") == "list":
        shape = random.choice(value.list.shape) if value.list.shape else value.list.shape.add()
    for size in random.choice(_MORE_SIZES):
        shape.dim.add(size=size)
    shape.unknown_rank = random.random() < 0.1


def change_name(meta_graph: MetaGraphDef, random: Random) -> None:
    node = node_of(meta_graph, random)
    other = node_of(meta_graph, random)
    node.name = random.choice((other.name, f"{other.name}/x", mutate_text(node.name, random), ""))


def change_device(meta_graph: MetaGraphDef, random: Random) -> None:
    node = node_of(meta_graph, random)
    if random.random() < 0.5:
        node.device = random.choice(
            ("/cpu:0", "/job:a/replica:1/task:2/device:GPU:99", "/", "x", "/gpu:-1", "/cpu:²", "//")
        )
    else:
        node.attr["_class"].list.s.append(b"loc:@" + node_of(meta_graph, random).name.encode())


def add_node(meta_graph: MetaGraphDef, random: Random) -> None:
    body = body_of(meta_graph, random)
    copied = random.choice(body) if body else NodeDef(name="x", op="NoOp")
    for number in range(random.choice((1, 1, 5, 60))):
        node = body.add()
        node.CopyFrom(copied)
        node.name = f"{copied.name}_{number}"
        if random.random() < 0.5:
            node.input[:] = [tensor_name(body, random) for _ in copied.input]


def remove_node(meta_graph: MetaGraphDef, random: Random) -> None:
    body = body_of(meta_graph, random)
    if body:
        del body[random.randrange(len(body))]


def lead_back(meta_graph: MetaGraphDef, random: Random) -> None:
    """A circle: of ordinary nodes, or as a loop has one."""
    body = body_of(meta_graph, random)
    if len(body) > 1:
        first, last = sorted(random.sample(range(len(body)), 2))
        body[first].input.append(body[last].name)
        if random.random() < 0.5:
            body[first].op, body[last].op = "Merge", "NextIteration"
            body[first].attr["N"].i = len(body[first].input)


# --------------------------------------------------------------------------- functions


def call(meta_graph: MetaGraphDef, random: Random) -> None:
    """Let the graph or a function call a function, itself perhaps, with what it takes."""
    functions = functions_of(meta_graph)
    if not functions:
        add_function(meta_graph, random)
        return
    called = random.choice(functions)
    body = body_of(meta_graph, random)
    times = random.choice((1, 1, 2, 20))
    node = NodeDef(name=f"call{len(body)}", op=random.choice(("PartitionedCall", "If", "While")))
    if random.random() < 0.7:
        node.op = "StatefulPartitionedCall"
    node.input.extend(tensor_name(body, random) for _ in called.signature.input_arg)
    for key in ("f", "cond", "body", "then_branch", "else_branch"):
        node.attr[key].func.name = called.signature.name
    for key, arguments in (
        ("Tin", called.signature.input_arg),
        ("Tout", called.signature.output_arg),
        ("T", called.signature.input_arg),
    ):
        node.attr[key].list.type.extend(argument.type for argument in arguments)
    for number in range(times):
        node.name = f"call{len(body)}_{number}"
        body.add().CopyFrom(node)


def add_function(meta_graph: MetaGraphDef, random: Random) -> None:
    """Move some of the graph's nodes into a function, or copy one."""
    functions = functions_of(meta_graph)
    library = meta_graph.graph_def.library.function
    made = library.add()
    if functions and random.random() < 0.6:
        made.CopyFrom(random.choice(functions))
        made.signature.name = random.choice((made.signature.name, f"other{len(functions)}"))
        return
    made.signature.name = "Identity" if random.random() < 0.1 else f"made{len(functions)}"
    nodes = list(meta_graph.graph_def.node)
    made.node_def.extend(random.sample(nodes, min(len(nodes), random.choice((1, 3, 8)))))
    for node in made.node_def:
        node.input[:] = [tensor_name(made.node_def, random) + ":output:0" for _ in node.input]


def change_function(meta_graph: MetaGraphDef, random: Random) -> None:
    functions = functions_of(meta_graph)
    if not functions:
        return
    function = random.choice(functions)
    signature = function.signature
    match random.randrange(7):
        case 0:
            signature.name = function_name(meta_graph, random)
        case 1:
            signature.input_arg.add(name=f"arg{len(signature.input_arg)}", type=1)
        case 2:
            argument = random.choice(list(signature.input_arg) or [signature.input_arg.add()])
            attr, kind = random.choice((("number_attr", "int"), ("type_list_attr", "list(type)")))
            setattr(argument, attr, "N")
            added = signature.attr.add(name="N", type=kind)
            added.default_value.i = mutate_int(1, random) % 2**63
        case 3 if function.ret:
            function.ret[random.choice(sorted(function.ret))] = tensor_name(
                function.node_def, random
            )
        case 4:
            function.control_ret["x"] = tensor_name(function.node_def, random)
        case 5 if function.node_def:
            attrs = random.choice(function.node_def).attr
            attrs[random.choice(sorted(attrs) or ["T"])].placeholder = random.choice(("N", "T", ""))
        case _:
            mutate_message(function, random)
