from __future__ import annotations

import os
import shutil
import struct
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from ckptmgr import errors
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr.graph import create_op
from ckptmgr.graph.attributes import FunctionName
from ckptmgr.graph.construction import constant
from ckptmgr.graph.effects import EFFECTS, PATH_INPUTS
from ckptmgr.graph.executor import fed_strings
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.graph_def import import_graph_def
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.policy import REFUSED, Policy
from ckptmgr.graph.run_check import RunCheck
from ckptmgr.graph.saver import Saver
from ckptmgr.graph.session import Session
from ckptmgr.graph.variables import Variable, global_variables_initializer
from ckptmgr.saved_model import loader

ENGINES = ["numpy", pytest.param("tensorflow", marks=pytest.mark.tensorflow)]
both_engines = pytest.mark.parametrize("engine", ENGINES)

# --------------------------------------------------------------------------- graphs of others

#: Functions of one argument. Those that end in "_it" pass theirs on.
FUNCTIONS = """
function {
  signature { name: "reads" %(io)s }
  node_def { name: "r" op: "ReadFile" input: "path" }
  ret { key: "out" value: "r:contents:0" }
}
function {
  signature { name: "writes" %(io)s }
  node_def { name: "w" op: "WriteFile" input: "path" input: "path" }
  ret { key: "out" value: "path" }
  control_ret { key: "w" value: "w" }
}
function {
  signature { name: "calls" %(io)s }
  node_def {
    name: "c" op: "PartitionedCall" input: "path"
    attr { key: "Tin" value { list { type: DT_STRING } } }
    attr { key: "Tout" value { list { type: DT_STRING } } }
    attr { key: "f" value { func { name: "reads" } } }
  }
  ret { key: "out" value: "c:output:0" }
}
function {
  signature { name: "is_harmless" %(io)s }
  ret { key: "out" value: "path" }
}
"""
RESTORE = """
  node_def { name: "n" op: "Const" %(strings)s attr { key: "value" value { tensor {
    dtype: DT_STRING tensor_shape { dim { size: 1 } } string_val: "t" } } } }
  node_def { name: "s" op: "Const" %(strings)s attr { key: "value" value { tensor {
    dtype: DT_STRING tensor_shape { dim { size: 1 } } string_val: "" } } } }
  node_def {
    name: "r" op: "RestoreV2" input: "%(source)s" input: "n:output:0" input: "s:output:0"
    attr { key: "dtypes" value { list { type: DT_STRING } } }
  }
"""
STRINGS = 'attr { key: "dtype" value { type: DT_STRING } }'
IO = 'input_arg { name: "path" type: DT_STRING } output_arg { name: "out" type: DT_STRING }'


def library(text: str = FUNCTIONS) -> GraphDef:
    return text_format.Parse(f"library {{ {text % {'io': IO}} }}", GraphDef())


def restoring(name: str, source: str, before: str = "") -> str:
    """A function that restores from the tensor `source`."""
    body = RESTORE % {"strings": STRINGS, "source": source}
    return f"""function {{
      signature {{ name: "{name}" %(io)s }} {before} {body}
      ret {{ key: "out" value: "r:tensors:0" }}
    }}"""


def call(graph: Graph, function: str, argument: Tensor, name: str = "call") -> Tensor:
    attrs = {"Tin": ["string"], "Tout": ["string"], "f": FunctionName(function)}
    return create_op(graph, "StatefulPartitionedCall", [[argument]], attrs, name).outputs[0]


def identity(graph: Graph, tensor: Tensor, name: str = "out") -> Tensor:
    return create_op(graph, "Identity", [tensor], {}, name).outputs[0]


def read(graph: Graph, path: str, name: str = "read") -> Tensor:
    return create_op(graph, "ReadFile", [constant(graph, path)], {}, name).outputs[0]


def write(graph: Graph, path: str) -> Operation:
    return create_op(graph, "WriteFile", [constant(graph, path), constant(graph, "x")], {}, "write")


def imported(build: Callable[[Graph, str], object], path: str, functions: str = FUNCTIONS) -> Graph:
    """What `build` makes, as somebody else's graph."""
    own = Graph()
    import_graph_def(library(functions), name="", graph=own)
    build(own, path)
    graph = Graph()
    import_graph_def(own.as_graph_def(), name="", graph=graph)
    return graph


# --------------------------------------------------------------------------- refused types


def reads(graph: Graph, path: str) -> None:
    identity(graph, read(graph, path))


def writes(graph: Graph, path: str) -> None:
    with graph.control_dependencies([write(graph, path)]):
        identity(graph, constant(graph, "a"))


def reads_far_behind(graph: Graph, path: str) -> None:
    tensor = read(graph, path)
    for number in range(3):
        with graph.control_dependencies([identity(graph, tensor, f"i{number}")]):
            tensor = constant(graph, "a")
    identity(graph, tensor)


def calls(function: str) -> Callable[[Graph, str], None]:
    def build(graph: Graph, path: str) -> None:
        identity(graph, call(graph, function, constant(graph, path)))

    return build


def is_called(function: str) -> Callable[[Graph, str], None]:
    """The function is the type of an operation."""

    def build(graph: Graph, path: str) -> None:
        identity(graph, create_op(graph, function, [constant(graph, path)]).outputs[0])

    return build


def chooses(graph: Graph, path: str) -> None:
    branches = [FunctionName("is_harmless"), FunctionName("reads")]
    attrs = {"Tout": ["string"], "branches": branches}
    case = create_op(graph, "Case", [constant(graph, 1), [constant(graph, path)]], attrs)
    identity(graph, case.outputs[0])


HIDDEN: list[tuple[str, Callable[[Graph, str], None]]] = [
    ("ReadFile", reads),
    ("WriteFile", writes),
    ("ReadFile", reads_far_behind),
    ("ReadFile", calls("reads")),
    ("ReadFile", calls("calls")),
    ("WriteFile", calls("writes")),
    ("ReadFile", is_called("calls")),
    ("ReadFile", chooses),
]


@both_engines
@pytest.mark.parametrize(("op_type", "build"), HIDDEN)
def test_files_are_touched_only_where_that_is_allowed(
    engine: str, op_type: str, build: Callable[[Graph, str], None], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    if op_type == "ReadFile":
        path.write_bytes(b"content")
    before = os.listdir(tmp_path)
    graph = imported(build, str(path))
    with Session(graph=graph, engine=engine) as session:
        with pytest.raises(errors.OpRefused, match=f"{op_type} operation .* was not run"):
            session.run("out:0")
        assert os.listdir(tmp_path) == before
    with Session(graph=graph, engine=engine, allow_ops=[op_type]) as session:
        value = session.run("out:0")
    assert path.exists()
    assert op_type == "WriteFile" or value in (b"content", b"a")


@both_engines
def test_python_is_not_called(engine: str) -> None:
    graph = Graph()
    attrs = {"token": "pyfunc_0", "Tout": ["string"], "Tin": []}
    create_op(graph, "PyFunc", [[]], attrs, "out")
    with (
        Session(graph=graph, engine=engine) as session,
        pytest.raises(errors.OpRefused, match="PyFunc operation 'out' touches files"),
    ):
        session.run("out:0")


@both_engines
def test_what_is_not_needed_is_not_judged(engine: str, tmp_path: Path) -> None:
    def build(graph: Graph, path: str) -> None:
        write(graph, path)
        call(graph, "writes", constant(graph, path))
        identity(graph, read(graph, path), "behind")
        identity(graph, constant(graph, "a"))

    graph = imported(build, str(tmp_path / "file"))
    with Session(graph=graph, engine=engine) as session:
        assert session.run("out:0") == b"a"
        assert session.run(["behind:0", "out:0"], {"read:0": b"fed"}) == [b"fed", b"a"]
        assert session.run("behind:0", {"behind:0": b"fed"}) == b"fed"
        # The same fetch, and nothing fed.
        with pytest.raises(errors.OpRefused, match="ReadFile operation 'read'"):
            session.run("behind:0")
    assert os.listdir(tmp_path) == []


@both_engines
def test_operations_that_come_later(engine: str, tmp_path: Path) -> None:
    graph = imported(calls("is_harmless"), "a")
    with Session(graph=graph, engine=engine) as session:
        assert session.run("out:0") == b"a"
        written = write(graph, str(tmp_path / "file"))
        assert session.run("out:0") == b"a"
        with pytest.raises(errors.OpRefused, match="WriteFile operation 'write'"):
            session.run([written, "out:0"])
    assert os.listdir(tmp_path) == []


@both_engines
def test_printing(engine: str, tmp_path: Path, capfd: Any) -> None:
    def build(graph: Graph, path: str) -> None:
        text = constant(graph, "hello")
        create_op(graph, "PrintV2", [text], {"output_stream": "stderr"}, "out")
        create_op(graph, "PrintV2", [text], {"output_stream": f"file://{path}"}, "file")

    graph = imported(build, str(tmp_path / "file"))
    with Session(graph=graph, engine=engine) as session:
        session.run("out")
        with pytest.raises(errors.OpRefused, match="PrintV2 operation 'file' would write to"):
            session.run("file")
    assert "hello" in capfd.readouterr().err
    assert os.listdir(tmp_path) == []


def test_the_table_and_what_is_refused() -> None:
    assert {"RestoreV2", "SaveV2", "InitializeTableFromTextFileV2", "PrintV2"}.isdisjoint(REFUSED)
    refused = {"ReadFile", "CSVDataset", "SqlDataset", "RpcCall", "TRTEngineOp", "DatasetFromGraph"}
    refused |= {"Abort", "DecodeProtoV2", "EncodeProto", "XlaCustomCall", "XlaCustomCallV2"}
    assert refused <= REFUSED
    assert EFFECTS.keys() >= PATH_INPUTS.keys()


# --------------------------------------------------------------------------- TensorFlow's own ways


def shape_from_file(graph: Graph, path: str) -> None:
    numbers = create_op(graph, "DecodeRaw", [read(graph, path)], {"out_type": "int32"}).outputs[0]
    create_op(graph, "Reshape", [constant(graph, np.zeros(12, np.float32)), numbers], {}, "out")


def test_tensorflow_reads_no_file_when_it_is_given_a_graph(tf: Any, tmp_path: Path) -> None:
    """It computes constant shapes then."""
    path = tmp_path / "shape"
    path.write_bytes(struct.pack("<2i", 3, 4))
    graph = imported(shape_from_file, str(path))
    constant(graph, 1.0, name="one")
    with Session(graph=graph, engine="tensorflow") as session:
        assert session.run("one:0") == 1
        assert known_shape(session) != [3, 4]
        fed = session.run("out:0", {"read:0": struct.pack("<2i", 2, 6)})
        assert fed.shape == (2, 6)
    with Session(graph=graph, engine="tensorflow", allow_ops=["ReadFile"]) as session:
        assert session.run("one:0") == 1
        assert known_shape(session) == [3, 4]


SHAPE_IN_A_FUNCTION = """function {
  signature { name: "f" %(io)s }
  node_def { name: "r" op: "ReadFile" input: "path" }
  node_def { name: "d" op: "DecodeRaw" input: "r:contents:0"
    attr { key: "out_type" value { type: DT_INT32 } } }
  node_def { name: "v" op: "Const" %(strings)s
    attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape {} string_val: "x" } } } }
  node_def { name: "fill" op: "Fill" input: "d:output:0" input: "v:output:0"
    attr { key: "T" value { type: DT_STRING } } }
  ret { key: "out" value: "fill:output:0" }
}""".replace("%(strings)s", 'attr { key: "dtype" value { type: DT_STRING } }')


def test_tensorflow_reads_no_file_for_a_function_when_it_is_given_a_graph(
    tf: Any, tmp_path: Path
) -> None:
    path = tmp_path / "shape"
    path.write_bytes(struct.pack("<2i", 3, 4))
    graph = imported(calls("f"), str(path), SHAPE_IN_A_FUNCTION)
    constant(graph, 1.0, name="one")
    with Session(graph=graph, engine="tensorflow") as session:
        assert session.run("one:0") == 1
        assert known_shape(session) is None
        with pytest.raises(errors.OpRefused, match="ReadFile operation 'r'"):
            session.run("out:0")
    with Session(graph=graph, engine="tensorflow", allow_ops=["ReadFile"]) as session:
        assert session.run("out:0").shape == (3, 4)
        assert known_shape(session) == [3, 4]


def test_tensorflow_writes_no_file_for_a_function_when_it_is_given_a_graph(
    tf: Any, tmp_path: Path
) -> None:
    """Of a type that is not known here."""
    body = DUMPS.replace("node {", "node_def {").replace('"s"', '"s:output:0"', 2)
    body = body.replace('name: "s:output:0"', 'name: "s"').replace(
        'input: "d"', 'input: "d:output:0"'
    )
    body = body.replace('input: "v"', 'input: "v:output:0"').replace("PATH", str(tmp_path))
    graph = Graph()
    function = f"""library {{ function {{ signature {{ name: "f"
      output_arg {{ name: "out" type: DT_INT32 }} }} {body}
      ret {{ key: "out" value: "out:output:0" }} }} }}"""
    import_graph_def(text_format.Parse(function, GraphDef()), name="", graph=graph)
    constant(graph, 1.0, name="one")
    attrs = {"Tin": [], "Tout": ["int32"], "f": FunctionName("f")}
    create_op(graph, "StatefulPartitionedCall", [[]], attrs, "call")
    with Session(graph=graph, engine="tensorflow") as session:
        assert session.run("one:0") == 1
        assert os.listdir(tmp_path) == []
        with pytest.raises(errors.OpRefused, match="DebugIdentity operation 'd'"):
            session.run("call:0")
    with Session(graph=graph, engine="tensorflow", allow_ops=["DebugIdentity"]) as session:
        session.run("one:0")
    assert os.listdir(tmp_path) != []


def test_a_type_that_tensorflow_does_not_know(tf: Any) -> None:
    graph = Graph()
    text = 'node { name: "n" op: "NoSuchOp" }'
    import_graph_def(text_format.Parse(text, GraphDef()), name="", graph=graph)
    one = constant(graph, 1.0)
    with (
        Session(graph=graph, engine="tensorflow") as session,
        pytest.raises(errors.KernelNotFound, match="does not take the graph: .*'NoSuchOp'"),
    ):
        session.run(one)


def test_threads_hand_a_graph_to_tensorflow_once(tf: Any) -> None:
    graph = Graph()
    one = constant(graph, 1.0, name="one")
    for number in range(300):
        create_op(graph, "Neg", [one], name=f"n{number}")
    meeting = threading.Barrier(4)

    def run(session: Session, number: int) -> Any:
        meeting.wait(timeout=10)
        return session.run(f"n{number}:0")

    interval_secs = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with (
            Session(graph=graph, engine="tensorflow") as session,
            ThreadPoolExecutor(4) as threads,
        ):
            assert list(threads.map(run, [session] * 4, range(4))) == [-1.0] * 4
            engine: Any = session._engine
            assert len(engine._theirs.get_operations()) == 301
    finally:
        sys.setswitchinterval(interval_secs)


@both_engines
def test_a_path_that_no_file_has(engine: str, tmp_path: Path) -> None:
    graph = Graph()
    import_graph_def(library(restoring("f", "path")), name="", graph=graph)
    call(graph, "f", constant(graph, b"a\0b"), "out")
    with Session(graph=graph, engine=engine) as session:
        session.state.policy.open_for_reading(str(tmp_path))
        with pytest.raises((errors.OpRefused, errors.InvalidOperand)):
            session.run("out:0")


def known_shape(session: Any) -> list[int] | None:
    """What TensorFlow knows of the shape that is in the file."""
    shape = session._engine._theirs.get_tensor_by_name("out:0").shape
    return None if not shape.is_fully_defined() else list(shape)


DUMPS = """
node {
  name: "s" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
  attr { key: "value" value { tensor {
    dtype: DT_INT32 tensor_shape { dim { size: 1 } } int_val: 3 } } }
}
node {
  name: "v" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
  attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape {} int_val: 1 } } }
}
node {
  name: "d" op: "DebugIdentity" input: "s" attr { key: "T" value { type: DT_INT32 } }
  attr { key: "tensor_name" value { s: "s:0" } }
  attr { key: "debug_urls" value { list { s: "file://PATH" } } }
}
node {
  name: "out" op: "Fill" input: "d" input: "v" attr { key: "T" value { type: DT_INT32 } }
}
"""


def test_tensorflow_writes_no_file_when_it_is_given_a_graph(tf: Any, tmp_path: Path) -> None:
    """Of a type that is not known here."""
    graph = Graph()
    text = DUMPS.replace("PATH", str(tmp_path))
    import_graph_def(text_format.Parse(text, GraphDef()), name="", graph=graph)
    with Session(graph=graph, engine="tensorflow") as session:
        assert session.run("v:0") == 1
        assert os.listdir(tmp_path) == []
        with pytest.raises(errors.OpRefused, match="DebugIdentity operation 'd'"):
            session.run("out:0")
    with Session(graph=graph, engine="tensorflow", allow_ops=["DebugIdentity"]) as session:
        session.run("v:0")
    assert os.listdir(tmp_path) != []


def exchangeable(function: str, device: str) -> str:
    return f"""attr {{ key: "api_implements" value {{ s: "{function}" }} }}
    attr {{ key: "api_preferred_device" value {{ s: "{device}" }} }}"""


def test_a_function_that_may_stand_in_for_another(tf: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    text = FUNCTIONS.replace(
        'ret { key: "out" value: "path" }\n}', f'ret {{ key: "out" value: "path" }} {HARMLESS} }}'
    ).replace('value: "r:contents:0" }', f'value: "r:contents:0" }} {READS}')
    graph = imported(restores_in("is_harmless", prefix), str(tmp_path / "file"), text)
    with (
        Session(graph=graph, engine="tensorflow") as session,
        pytest.raises(errors.OpRefused, match="ReadFile operation 'r'"),
    ):
        session.run("out:0")
    with Session(graph=graph, engine="tensorflow", allow_ops=["ReadFile"]) as session:
        assert session.run("out:0") == b"content"  # TensorFlow does exchange them


HARMLESS, READS = exchangeable("it", "GPU"), exchangeable("it", "CPU")


def test_a_graph_in_a_string(tf: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        dataset = tf.data.Dataset.range(1).map(lambda _: tf.io.read_file(str(path)))
        stored = tf.raw_ops.DatasetToGraphV2(
            input_dataset=dataset._variant_tensor, external_state_policy=1
        )
        with v1.Session() as session:
            text = session.run(stored)
    with tf.Graph().as_default() as theirs:
        made = tf.raw_ops.DatasetFromGraph(graph_def=v1.placeholder(tf.string, [], name="text"))
        tf.raw_ops.DatasetToSingleElement(
            dataset=made, output_types=[tf.string], output_shapes=[[]], name="out"
        )
    graph = Graph()
    message = GraphDef.FromString(theirs.as_graph_def().SerializeToString())
    import_graph_def(message, name="", graph=graph)
    with (
        Session(graph=graph, engine="tensorflow") as session,
        pytest.raises(errors.OpRefused, match="DatasetFromGraph operation"),
    ):
        session.run("out:0", {"text:0": text})
    with Session(graph=graph, engine="tensorflow", allow_ops=["DatasetFromGraph"]) as session:
        assert session.run("out:0", {"text:0": text}) == b"content"


# --------------------------------------------------------------------------- paths


def prefix(graph: Graph, path: str) -> Tensor:
    default = [constant(graph, path)]
    return create_op(graph, "PlaceholderWithDefault", default, {"shape": ()}, "prefix").outputs[0]


def saves(graph: Graph, path: str) -> None:
    texts = constant(graph, ["t"]), constant(graph, [""])
    create_op(graph, "SaveV2", [prefix(graph, path), *texts, [constant(graph, 1.0)]], {}, "out")


@both_engines
def test_an_imported_graph_saves_where_it_is_told(engine: str, tmp_path: Path) -> None:
    path = str(tmp_path / "model")
    graph = imported(saves, path)
    with Session(graph=graph, engine=engine) as session:
        with pytest.raises(errors.OpRefused, match=f"would write '{path}', a path that it brought"):
            session.run("out")
        assert os.listdir(tmp_path) == []
        session.run("out", {"prefix:0": path})
    assert (tmp_path / "model.index").exists()
    for name in os.listdir(tmp_path):
        (tmp_path / name).unlink()
    with Session(graph=graph, engine=engine, allow_ops=["SaveV2"]) as session:
        session.run("out")
    assert (tmp_path / "model.index").exists()


@both_engines
def test_a_graph_of_ones_own_saves_anywhere(engine: str, tmp_path: Path) -> None:
    graph = Graph()
    saves(graph, str(tmp_path / "model"))
    with Session(graph=graph, engine=engine) as session:
        session.run("out")
    assert (tmp_path / "model.index").exists()


@dataclass
class Restoring:
    """A way of an imported graph to get at a path: by default it is fed to `prefix:0`."""

    build: Callable[[Graph, str], object]
    functions: str = FUNCTIONS
    problem: str | None = None
    feeds: list[str] = field(default_factory=lambda: ["prefix:0"])


def restores(path: Callable[[Graph, str], Tensor]) -> Callable[[Graph, str], None]:
    def build(graph: Graph, text: str) -> None:
        inputs = [path(graph, text), constant(graph, ["t"]), constant(graph, [""])]
        create_op(graph, "RestoreV2", inputs, {"dtypes": ["string"]}, "out")

    return build


def restores_in(
    function: str, path: Callable[[Graph, str], Tensor]
) -> Callable[[Graph, str], None]:
    def build(graph: Graph, text: str) -> None:
        identity(graph, call(graph, function, path(graph, text)))

    return build


def through_a_variable(graph: Graph, path: str) -> Tensor:
    handle = create_op(graph, "VarHandleOp", [], {"dtype": "string", "shape": ()}, "v").outputs[0]
    assign = create_op(graph, "AssignVariableOp", [handle, prefix(graph, path)], {}, "assign")
    with graph.control_dependencies([assign]):
        return create_op(graph, "ReadVariableOp", [handle], {"dtype": "string"}).outputs[0]


def assigned_in_between(graph: Graph, path: str) -> Tensor:
    """What is fed, and then a path of its own, by another handle to the variable."""
    attrs = {"dtype": "string", "shape": (), "shared_name": "v"}
    one, two = (create_op(graph, "VarHandleOp", [], attrs).outputs[0] for _ in range(2))
    assign = create_op(graph, "AssignVariableOp", [one, prefix(graph, "a")])
    with graph.control_dependencies([assign]):
        again = create_op(graph, "AssignVariableOp", [two, constant(graph, path)])
    with graph.control_dependencies([assign, again]):
        return create_op(graph, "ReadVariableOp", [one], {"dtype": "string"}).outputs[0]


def from_another_variable(graph: Graph, path: str) -> Tensor:
    attrs = {"dtype": "string", "shape": ()}
    one, two = (create_op(graph, "VarHandleOp", [], attrs).outputs[0] for _ in range(2))
    first = create_op(graph, "AssignVariableOp", [two, constant(graph, path)])
    assign = create_op(graph, "AssignVariableOp", [one, prefix(graph, "a")])
    with graph.control_dependencies([first, assign]):
        return create_op(graph, "ReadVariableOp", [two], {"dtype": "string"}).outputs[0]


def from_a_variable(graph: Graph, path: str) -> Tensor:
    """It is read, and only then assigned what is fed."""
    handle = create_op(graph, "VarHandleOp", [], {"dtype": "string", "shape": ()}, "v").outputs[0]
    first = create_op(graph, "AssignVariableOp", [handle, constant(graph, path)])
    with graph.control_dependencies([first]):
        value = create_op(graph, "ReadVariableOp", [handle], {"dtype": "string"}).outputs[0]
    create_op(graph, "AssignVariableOp", [handle, prefix(graph, "a")], {}, "assign")
    return value


def lower(graph: Graph, path: str) -> Tensor:
    return create_op(graph, "StringLower", [prefix(graph, path)]).outputs[0]


def joined(*texts: str) -> Callable[[Graph, str], Tensor]:
    def build(graph: Graph, path: str) -> Tensor:
        parts = [prefix(graph, path), *(constant(graph, text) for text in texts)]
        return create_op(graph, "StringJoin", [parts]).outputs[0]

    return build


def chosen(graph: Graph, path: str) -> Tensor:
    """Of what is fed and a path of its own."""
    inputs = [constant(graph, True), prefix(graph, path), constant(graph, path)]
    return create_op(graph, "Select", inputs).outputs[0]


def own(graph: Graph, path: str) -> Tensor:
    prefix(graph, "a")
    return constant(graph, path)


def called_twice(graph: Graph, path: str) -> None:
    """With what is fed, and with a path of its own."""
    one = call(graph, "restores", prefix(graph, "a"), "one")
    two = call(graph, "restores", constant(graph, path), "two")
    identity(graph, create_op(graph, "StringJoin", [[one, two]]).outputs[0])


def in_a_branch(graph: Graph, path: str) -> None:
    """What is fed only chooses the branch."""
    branch = FunctionName("restores")
    attrs = {"Tout": ["string"], "then_branch": branch, "else_branch": branch}
    chosen = create_op(graph, "If", [prefix(graph, "a"), [constant(graph, path)]], attrs)
    identity(graph, chosen.outputs[0])


def without_arguments(graph: Graph, path: str) -> None:
    prefix(graph, path)
    attrs = {"Tin": [], "Tout": ["string"], "f": FunctionName("restores")}
    called = create_op(graph, "StatefulPartitionedCall", [[]], attrs)
    identity(graph, called.outputs[0])


def called_from(function: str) -> Callable[[Graph, str], None]:
    """With what is fed, and by a function that is called."""

    def build(graph: Graph, path: str) -> None:
        one = call(graph, "restores", prefix(graph, "a"))
        two = create_op(graph, function, [constant(graph, path)]).outputs[0]
        identity(graph, create_op(graph, "StringJoin", [[one, two]]).outputs[0])

    return build


CONSTANT = f"""node_def {{ name: "p" op: "Const" {STRINGS} attr {{ key: "value" value {{ tensor {{
  dtype: DT_STRING tensor_shape {{}} string_val: "PATH" }} }} }} }}"""
IDENTITY = """node_def { name: "p" op: "Identity" input: "path"
  attr { key: "T" value { type: DT_STRING } } }"""
LOWER = 'node_def { name: "p" op: "StringLower" input: "path" }'
NESTED = FUNCTIONS.replace('func { name: "reads" }', 'func { name: "restores" }') + restoring(
    "restores", "path"
)
RECURSIVE = (
    """function {
  signature { name: "recursive" %(io)s }
  node_def { name: "c" op: "recursive" input: "r:tensors:0" }
"""
    + RESTORE % {"strings": STRINGS, "source": "path"}
    + 'ret { key: "out" value: "c:out:0" } }'
)

RESTORES_TEXT = restoring("restores", "path")
#: It calls `restores`, and is not the same for every call.
GENERAL = (
    RESTORES_TEXT
    + """function {
  signature { name: "general" %(io)s attr { name: "T" type: "type" default_value { type: 1 } } }
  node_def { name: "c" op: "restores" input: "path" }
  ret { key: "out" value: "c:out:0" }
}"""
)
UNSOUND_CALL = (
    RESTORES_TEXT
    + """function {
  signature { name: "unsound" %(io)s }
  node_def { name: "c" op: "restores" input: "missing:out:0" }
  ret { key: "out" value: "c:out:0" }
}"""
)
#: Its path is an attribute, by default what the caller is expected to feed.
BY_ATTRIBUTE = restoring(
    "f",
    "p:output:0",
    f"""node_def {{ name: "p" op: "Const" {STRINGS}
      attr {{ key: "value" value {{ placeholder: "p" }} }} }}""",
).replace(
    "%(io)s",
    """%(io)s attr { name: "p" type: "tensor" default_value { tensor {
      dtype: DT_STRING tensor_shape {} string_val: "FED" } } }""",
)


def by_attribute(graph: Graph, path: str) -> None:
    text = np.array(path.encode(), object)
    identity(graph, create_op(graph, "f", [prefix(graph, "a")], {"p": text}).outputs[0])


#: TensorFlow may run it where another one is called.
INSTEAD = FUNCTIONS.replace(
    'ret { key: "out" value: "path" }\n}', f'ret {{ key: "out" value: "path" }} {HARMLESS} }}'
) + restoring("restores", "path").replace(
    'value: "r:tensors:0" }', f'value: "r:tensors:0" }} {READS}'
)
NUMBER = """node_def { name: "i" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
  attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape {} int_val: 1 } } } }
  node_def { name: "p" op: "StringJoin" input: "i:output:0"
  attr { key: "N" value { i: 1 } } }"""

RESTORES: dict[str, Restoring] = {
    "fed": Restoring(restores(prefix)),
    "not fed": Restoring(restores(prefix), problem="would read", feeds=[]),
    "constant": Restoring(restores(own), problem="would read"),
    "joined": Restoring(restores(joined(""))),
    "joined to another": Restoring(restores(joined("x")), problem="would read"),
    "one of two": Restoring(restores(chosen), problem="would read"),
    "computed otherwise": Restoring(restores(lower), problem="cannot be told"),
    "through a variable": Restoring(restores(through_a_variable)),
    "through a variable, assigned again": Restoring(restores(assigned_in_between)),
    "from another variable": Restoring(restores(from_another_variable), problem="cannot be told"),
    "not fed to the variable": Restoring(
        restores(through_a_variable), problem="cannot be told", feeds=[]
    ),
    "from a variable": Restoring(restores(from_a_variable), problem="cannot be told"),
    "function": Restoring(restores_in("restores", prefix), NESTED),
    "function within a function": Restoring(restores_in("calls", prefix), NESTED),
    "function with a variable's": Restoring(restores_in("restores", through_a_variable), NESTED),
    "function, not fed": Restoring(
        restores_in("restores", prefix), NESTED, "would read", feeds=[]
    ),
    "function with a constant": Restoring(restores_in("restores", own), NESTED, "would read"),
    "function's own constant": Restoring(
        restores_in("f", prefix), restoring("f", "p:output:0", CONSTANT), "would read"
    ),
    "function's identity": Restoring(
        restores_in("f", prefix), restoring("f", "p:output:0", IDENTITY)
    ),
    "function's computation": Restoring(
        restores_in("f", prefix), restoring("f", "p:output:0", LOWER), "cannot be told"
    ),
    "function called twice": Restoring(called_twice, NESTED, "would read"),
    "function that is a branch": Restoring(in_a_branch, NESTED, "cannot be told"),
    "function without arguments": Restoring(without_arguments, NESTED, "cannot be told"),
    "function called from a general one": Restoring(
        called_from("general"), GENERAL, "cannot be told"
    ),
    "function called from an unsound one": Restoring(
        called_from("unsound"), UNSOUND_CALL, "cannot be told"
    ),
    "function with an attribute": Restoring(by_attribute, BY_ATTRIBUTE, "cannot be told"),
    "function instead of another": Restoring(
        restores_in("is_harmless", own), INSTEAD, "cannot be told"
    ),
    "function's number": Restoring(
        restores_in("f", prefix), restoring("f", "p:output:0", NUMBER), "cannot be told"
    ),
    "function's missing tensor": Restoring(
        restores_in("f", prefix),
        restoring("f", "p:output:0", IDENTITY.replace('"path"', '"missing:out:0"')),
        "cannot be told",
    ),
    "function with two nodes of a name": Restoring(
        restores_in("f", prefix),
        restoring("f", "p:output:0", IDENTITY + IDENTITY),
        "cannot be told",
    ),
    "function that calls itself": Restoring(
        restores_in("recursive", prefix), RECURSIVE, "cannot be told"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("checkpoint") / "model")
    graph = Graph()
    texts = constant(graph, ["t"]), constant(graph, [""])
    tensors = [[constant(graph, "value")]]
    create_op(graph, "SaveV2", [constant(graph, path), *texts, *tensors], {}, "save")
    with Session(graph=graph) as session:
        session.run("save")
    return path


@pytest.mark.parametrize("name", RESTORES)
def test_which_paths_are_known_to_be_fed(tf: Any, name: str, checkpoint: str) -> None:
    case = RESTORES[name]
    brought = f"{checkpoint}-brought"
    graph = imported(
        case.build, brought, case.functions.replace("PATH", brought).replace("FED", checkpoint)
    )
    feeds = dict.fromkeys(case.feeds, checkpoint)
    with Session(graph=graph, engine="tensorflow") as session:
        if case.problem is None:
            assert session.run("out:0", feeds) == b"value"
            return
        with pytest.raises(errors.OpRefused, match=f"RestoreV2 operation .*{case.problem}"):
            session.run("out:0", feeds)
    check = RunCheck(graph, Policy(["RestoreV2"]))
    fed = {graph.get_tensor_by_name(key): value for key, value in feeds.items()}
    assert (
        check.check([graph.get_tensor_by_name("out:0")], fed, fed_strings(fed.values())) is not None
    )


def test_a_variable_still_has_what_it_is_assigned(tf: Any, checkpoint: str) -> None:
    graph = imported(restores(through_a_variable), checkpoint)
    handle = graph.get_tensor_by_name("v:0")
    read_later = create_op(graph, "ReadVariableOp", [handle], {"dtype": "string"}).outputs[0]
    with Session(graph=graph, engine="tensorflow") as session:
        session.run("out:0", {"prefix:0": checkpoint})
        assert session.run(read_later) == checkpoint.encode()


@both_engines
def test_a_saver_for_shards_in_an_imported_graph(engine: str, tmp_path: Path) -> None:
    graph = Graph()
    with graph.as_default():
        Variable(1.0, name="a")
        with graph.device("/cpu:0"):
            Variable(2.0, name="b")
        saver_def = Saver(sharded=True).as_saver_def()
        init = global_variables_initializer().name
    foreign = Graph()
    import_graph_def(graph.as_graph_def(), name="", graph=foreign)
    path = str(tmp_path / "model")
    assert saver_def is not None
    feeds = {saver_def.filename_tensor_name: path}
    with Session(graph=foreign, engine=engine) as session:
        session.run(init)
        with pytest.raises(errors.OpRefused, match="would write 'model"):
            session.run(saver_def.save_tensor_name)
        session.run(saver_def.save_tensor_name, feeds)
        assert (tmp_path / "model.index").exists()
        session.run(saver_def.restore_op_name, feeds)


@pytest.mark.parametrize("folder", ["module", "keras_export"])
def test_a_model_of_tensorflow_2_is_loaded_and_saved(
    tf: Any, golden: Path, folder: str, tmp_path: Path
) -> None:
    """Its functions restore from, fill tables from and save to what the loader and Saver feed."""
    model = tmp_path / "model"
    shutil.copytree(golden / "saved_model_tf2" / folder, model)
    graph = Graph()
    with Session(graph=graph, engine="tensorflow") as session:
        loaded = loader.SavedModelLoader(model)
        saver = loaded.load_graph(graph, ["serve"])
        loaded.restore_variables(session, saver)
        loaded.run_init_ops(session, ["serve"])
        assert saver is not None
        prefix = saver.save(session, tmp_path / "again")
        assert prefix == str(tmp_path / "again")
        saver.restore(session, prefix)
        saver_def = saver.as_saver_def()
        assert saver_def is not None
        other = constant(graph, str(tmp_path / "other"))
        save = elsewhere(graph, saver_def.save_tensor_name, other)
        with pytest.raises(errors.OpRefused, match="would write"):
            session.run(save)
    assert not (tmp_path / "other.index").exists()


def elsewhere(graph: Graph, save_tensor_name: str, path: Tensor) -> Tensor:
    """Calls the function of a model that saves with a path that is not fed."""
    save = graph.get_tensor_by_name(save_tensor_name).op
    while save.type != "StatefulPartitionedCall":
        save = save.inputs[0].op
    inputs = [path, *save.inputs[1:]]
    attrs = {name: save.get_attr(name) for name in ("Tin", "Tout", "f")}
    return create_op(graph, "StatefulPartitionedCall", [inputs], attrs).outputs[0]


# --------------------------------------------------------------------------- large and unsound


FUNCTIONAL = """function {
  signature { name: "outer" %(io)s attr { name: "F" type: "func" DEFAULT } }
  node_def {
    name: "c" op: "PartitionedCall" input: "path"
    attr { key: "Tin" value { list { type: DT_STRING } } }
    attr { key: "Tout" value { list { type: DT_STRING } } }
    attr { key: "f" value { placeholder: "F" } }
  }
  ret { key: "out" value: "c:output:0" }
}"""
BY_DEFAULT = 'default_value { func { name: "reads" } }'


@pytest.mark.parametrize(
    ("default", "attrs"), [(BY_DEFAULT, {}), ("", {"F": FunctionName("reads")})]
)
def test_functions_that_are_attributes_of_functions(default: str, attrs: dict[str, Any]) -> None:
    def build(graph: Graph, path: str) -> None:
        values = {"Tin": ["string"], "Tout": ["string"], "f": FunctionName("outer", attrs)}
        create_op(graph, "PartitionedCall", [[constant(graph, path)]], values, "out")

    graph = imported(build, "a", FUNCTIONS + FUNCTIONAL.replace("DEFAULT", default))
    with pytest.raises(errors.OpRefused, match="ReadFile operation 'r'"):
        RunCheck(graph, Policy()).check([graph.get_tensor_by_name("out:0")], {}, frozenset())


def test_a_control_input_that_comes_later() -> None:
    graph = imported(calls("is_harmless"), "a")
    check = RunCheck(graph, Policy())
    out = graph.get_tensor_by_name("out:0")
    check.check([out], {}, frozenset())
    out.op._add_control_input(write(graph, "/no/such/file"))
    with pytest.raises(errors.OpRefused, match="WriteFile operation 'write'"):
        check.check([out], {}, frozenset())


def test_the_walk_is_made_once_for_the_same_fetches() -> None:
    graph = imported(reads, "/no/such/file")
    check = RunCheck(graph, Policy(["ReadFile"]))
    out = graph.get_tensor_by_name("out:0")
    check.check([out], {}, frozenset())
    kept = next(iter(check._kept._values.values()))
    check.check([out], {}, frozenset())
    assert [each is kept for each in check._kept._values.values()] == [True]


def test_a_call_with_very_many_arguments() -> None:
    """The inputs of each call were listed once for each of its arguments."""
    count = 5000
    arguments = "".join(f'input_arg {{ name: "a{n}" type: DT_STRING }} ' for n in range(count))
    signature = (
        f'signature {{ name: "f" {arguments} output_arg {{ name: "out" type: DT_STRING }} }}'
    )
    text = restoring("f", "a7").replace('signature { name: "f" %(io)s }', signature)
    graph = Graph()
    import_graph_def(library(text), name="", graph=graph)
    path = constant(graph, "a")
    attrs = {"Tout": ["string"], "f": FunctionName("f")}
    out = create_op(graph, "StatefulPartitionedCall", [[path] * count], attrs).outputs[0]
    began_secs = time.process_time()
    with pytest.raises(errors.OpRefused, match="would read 'a'"):
        RunCheck(graph, Policy()).check([out], {}, frozenset())
    assert time.process_time() - began_secs < 5


def test_functions_without_end() -> None:
    text = "".join(
        f"""function {{
          signature {{ name: "f{number}" %(io)s }}
          node_def {{ name: "c" op: "f{number + 1}" input: "path" }}
          node_def {{ name: "d" op: "f{number + 1}" input: "path" }}
          ret {{ key: "out" value: "c:out:0" }}
        }}"""
        for number in range(200)
    ) + restoring("f200", "path")
    graph = imported(is_called("f0"), "a", text)
    check = RunCheck(graph, Policy())
    with pytest.raises(errors.OpRefused, match="cannot be told"):
        check.check([graph.get_tensor_by_name("out:0")], {}, frozenset())


def test_a_function_that_is_not_sound() -> None:
    graph = imported(calls("f"), "a", restoring("f", "missing:output:0"))
    check = RunCheck(graph, Policy())
    with pytest.raises(errors.OpRefused, match="cannot be told"):
        check.check([graph.get_tensor_by_name("out:0")], {}, frozenset())
