"""Which operations have kernels, and that each of them is compared with TensorFlow."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.graph.kernels import registry
from ckptmgr.graph.kernels.registry import find_kernel, kernel, registered_types, stateful_kernel
from tests.graph.kernels.oracle import Node

MODULES = (
    *("activations", "arithmetic", "blocks", "casting", "comparison", "concatenation"),
    *("convolution", "creation", "diagonals", "elementwise", "expansion", "gathering", "identity"),
    *("images", "linear_algebra", "normalization", "ordering", "pooling", "reductions", "segments"),
    *("selection", "shapes", "slicing", "special_functions"),
)


# TensorFlow reads them in old graphs, but no longer builds them: their tests say what they do.
OLD = {"BatchNormWithGlobalNormalization", "TopK"}


def types_of(module: str) -> set[str]:
    return {
        op_type
        for op_type in registered_types()
        if find_kernel(op_type, "").compute.__module__ == f"ckptmgr.graph.kernels.{module}"
    }


@pytest.mark.parametrize("module", MODULES)
def test_every_kernel_is_compared(module: str) -> None:
    cases = importlib.import_module(f"tests.graph.kernels.test_{module}").CASES
    assert types_of(module) - OLD == {case[0] for case in cases}


@pytest.mark.parametrize("module", MODULES)
def test_kernels_have_the_inputs_of_their_operations(tf: Any, module: str) -> None:
    from tensorflow.python.framework import op_def_registry

    for op_type in types_of(module):
        inputs = op_def_registry.get(op_type).input_arg
        parameters = inspect.signature(find_kernel(op_type, "").compute).parameters.values()
        is_open = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
        count = len(parameters) - 1
        assert count <= len(inputs) + 1 if is_open else count == len(inputs), op_type


def test_an_operation_without_a_kernel() -> None:
    with pytest.raises(
        errors.KernelNotFound, match=r"operation 'Frobnicate', needed for node 'a/b'"
    ):
        find_kernel("Frobnicate", "a/b")


def test_a_kernel_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_kernels", dict(registry._kernels))

    @kernel("Double", "Twice")
    def double(node: Node, value: Any) -> Any:
        return value * 2

    @stateful_kernel("Count")
    def count(context: list[int], node: Node) -> Any:
        context.append(1)
        return np.array(len(context))

    for op_type in ("Double", "Twice"):
        found = find_kernel(op_type, "n")
        assert not found.is_stateful
        assert found.compute(Node(op_type, {}), np.array(2)) == 4
    assert find_kernel("Count", "n").is_stateful
    assert {"Double", "Twice", "Count"} <= set(registered_types())
    assert registered_types() == sorted(registered_types())
