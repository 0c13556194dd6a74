"""The list of operation types, against the TensorFlow that it is from."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr.graph import op_defs

REPOSITORY = Path(__file__).parent.parent.parent


def test_the_list_is_what_the_installed_tensorflow_gives(tf: Any) -> None:
    extract = runpy.run_path(str(REPOSITORY / "scripts" / "extract_op_defs.py"))["extract"]
    stored = (REPOSITORY / "ckptmgr" / "graph" / "op_defs.pb").read_bytes()
    assert stored == extract(), "run scripts/extract_op_defs.py"
    assert tf.version.GRAPH_DEF_VERSION == op_defs.GRAPH_DEF_VERSION


def test_every_definition_that_a_golden_meta_graph_brings_is_in_the_list(golden: Path) -> None:
    meta_graphs = [
        MetaGraphDef.FromString(path.read_bytes()) for path in sorted(golden.rglob("*.meta"))
    ]
    for path in sorted(golden.rglob("saved_model.pb")):
        meta_graphs += SavedModel.FromString(path.read_bytes()).meta_graphs
    brought = [op for meta in meta_graphs for op in meta.meta_info_def.stripped_op_list.op]
    assert len(brought) > 100
    for op_def in brought:
        assert op_defs.find(op_def.name) == op_def


@pytest.mark.parametrize("op_type", ["NoSuchOp", "", "const"])
def test_a_type_that_is_not_there(op_type: str) -> None:
    assert op_defs.find(op_type) is None
    assert op_defs.attributes(op_type) == {}


def test_attributes_by_name() -> None:
    assert list(op_defs.attributes("Placeholder")) == ["dtype", "shape"]
    assert op_defs.attributes("MatMul")["transpose_a"].default_value.b is False
    assert op_defs.known_types() == sorted(op_defs.known_types())
