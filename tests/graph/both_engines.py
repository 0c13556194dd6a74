"""Runs a graph that TensorFlow built with TensorFlow and with us, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptmgr.graph.graph import Graph
from ckptmgr.graph.graph_def import decode_graph_def, import_graph_def
from ckptmgr.graph.session import Session


@dataclass
class Run:
    """One `Session.run`: names of tensors or operations, and what is fed by name."""

    fetches: Sequence[str]
    feeds: Mapping[str, Any] = field(default_factory=dict)


def imported(graph_def: bytes) -> Graph:
    """A graph of a serialized GraphDef."""
    graph = Graph()
    import_graph_def(decode_graph_def(graph_def), name="", graph=graph)
    return graph


def graph_def_of(tf: Any, build: Callable[[Any], Any], *, control_flow_v2: bool = False) -> bytes:
    """What TensorFlow makes of a function that builds with its API of version 1."""
    tf1 = tf.compat.v1
    if control_flow_v2:
        tf1.enable_control_flow_v2()
    else:
        tf1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            build(tf1)
        return bytes(graph.as_graph_def().SerializeToString())
    finally:
        tf1.enable_control_flow_v2()


def run_both(
    tf: Any, graph_def: bytes, runs: Sequence[Run], **session_options: Any
) -> tuple[list[Any], list[Any]]:
    """The results of all runs, by TensorFlow and by us."""
    tf1 = tf.compat.v1
    with tf.Graph().as_default() as theirs:
        tf.import_graph_def(tf1.GraphDef.FromString(graph_def), name="")
    with tf1.Session(graph=theirs) as session:
        wanted = [session.run(list(run.fetches), dict(run.feeds)) for run in runs]
    with Session(graph=imported(graph_def), **session_options) as session:
        found = [session.run(list(run.fetches), dict(run.feeds)) for run in runs]
    return wanted, found


def check(
    tf: Any,
    build: Callable[[Any], Any],
    *runs: Run,
    control_flow_v2: bool = False,
    **session_options: Any,
) -> list[Any]:
    """Raise unless both give the same; returns what we gave."""
    graph_def = graph_def_of(tf, build, control_flow_v2=control_flow_v2)
    wanted, found = run_both(tf, graph_def, runs, **session_options)
    compare(wanted, found)
    return found


def compare(wanted: Any, found: Any) -> None:
    """Raise unless values, their types and their structure are the same."""
    assert type(wanted) is type(found), (wanted, found)
    if isinstance(wanted, list | tuple):
        assert len(wanted) == len(found)
        for theirs, ours in zip(wanted, found, strict=True):
            compare(theirs, ours)
    elif isinstance(wanted, np.ndarray):
        assert (wanted.dtype, wanted.shape) == (found.dtype, found.shape)
        if wanted.dtype.hasobject:
            assert wanted.tolist() == found.tolist()
        else:
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    elif isinstance(wanted, np.floating):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    else:
        assert wanted == found
