from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from ckptmgr import errors, saved_model
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.trackable_object_graph_pb2 import TrackableObjectGraph
from ckptmgr.bundle.layout import NamedTensor
from ckptmgr.bundle.writer import WriteOptions, stage
from ckptmgr.saved_model.directory import variables_prefix
from ckptmgr.saved_model.object_graph import OBJECT_GRAPH_KEY
from ckptmgr.storage.posix import PosixStorage
from tests.saved_model.models import write

#: An object that is filled by saving, under a name from the checkpoint.
SAVES_WHEN_IT_IS_FILLED = """
meta_info_def { tags: "serve" }
graph_def { library {
  function {
    signature { name: "create" output_arg { name: "made" type: DT_FLOAT } }
    node_def { name: "c" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
      attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape {} float_val: 1 } } } }
    ret { key: "made" value: "c:output:0" }
  }
  function {
    signature { name: "fill" input_arg { name: "path" type: DT_STRING } }
    node_def { name: "n" op: "Const" attr { key: "dtype" value { type: DT_STRING } }
      attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape { dim { size: 1 } }
        string_val: "t" } } } }
    node_def { name: "s" op: "Const" attr { key: "dtype" value { type: DT_STRING } }
      attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape { dim { size: 1 } }
        string_val: "" } } } }
    node_def { name: "w" op: "SaveV2" input: "path" input: "n:output:0" input: "s:output:0"
      input: "path" attr { key: "dtypes" value { list { type: DT_STRING } } } }
    control_ret { key: "w" value: "w" }
  }
} }
object_graph_def {
  nodes { children { node_id: 1 local_name: "t" } user_object {} }
  nodes { children { node_id: 2 local_name: "_create_resource" } resource {}
    saveable_objects { key: "%s" value { save_function: 4 restore_function: 3 } } }
  nodes { function { concrete_functions: "create" } }
  nodes { function { concrete_functions: "fill" } }
  nodes { function { concrete_functions: "tell" } }
  concrete_functions { key: "create" value {} }
  concrete_functions { key: "fill" value { canonicalized_input_signature { tuple_value {
    values { tuple_value { values { dict_value { fields { key: "k" value {
      tensor_spec_value { shape {} dtype: DT_STRING } } } } } } }
    values { dict_value {} } } } } }
  concrete_functions { key: "tell" value {} }
}
"""


def write_checkpoint(directory: str, objects: TrackableObjectGraph, **values: bytes) -> None:
    prefix = variables_prefix(directory)
    Path(prefix).parent.mkdir()
    tensors = {OBJECT_GRAPH_KEY: objects.SerializeToString(), **values}
    named = [NamedTensor(name, np.array(value, object)) for name, value in tensors.items()]
    stage(PosixStorage(), prefix, [named], WriteOptions("0" * 32, False)).publish()


def test_a_path_that_the_models_own_checkpoint_holds(tmp_path: Path) -> None:
    message = text_format.Parse(SAVES_WHEN_IT_IS_FILLED % ".TENSORS", MetaGraphDef())
    directory = write(tmp_path / "model", message)
    objects = TrackableObjectGraph()
    objects.nodes.add().children.add(node_id=1, local_name="t")
    objects.nodes.add().attributes.add(name="k", checkpoint_key="path")
    write_checkpoint(directory, objects, path=str(tmp_path / "elsewhere").encode())

    with pytest.raises(
        errors.OpRefused, match=r"would write '.*elsewhere', a path that it brought"
    ):
        saved_model.load(directory)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_path_that_the_models_own_checkpoint_calls_a_value(tmp_path: Path) -> None:
    """What saves an object is called to tell the names of its values, with the key of one."""
    message = text_format.Parse(SAVES_WHEN_IT_IS_FILLED % "k", MetaGraphDef())
    tell = message.graph_def.library.function.add()
    tell.CopyFrom(message.graph_def.library.function[1])
    tell.signature.name = "tell"
    directory = write(tmp_path / "model", message)
    objects = TrackableObjectGraph()
    objects.nodes.add().children.add(node_id=1, local_name="t")
    objects.nodes.add().attributes.add(name="k", checkpoint_key=str(tmp_path / "elsewhere"))
    write_checkpoint(directory, objects)

    with pytest.raises(
        errors.OpRefused, match=r"would write '.*elsewhere', a path that it brought"
    ):
        saved_model.load(directory)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
