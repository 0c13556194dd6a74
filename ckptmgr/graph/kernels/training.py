"""One step of an optimizer, on the variable and its slots.

Source: tensorflow/core/kernels/training_ops.cc.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.registry import KernelNode, kernel
from ckptmgr.graph.kernels.variables import variable_of
from ckptmgr.graph.state import Variable


@kernel("ApplyGradientDescent", "ResourceApplyGradientDescent")
def gradient_descent(node: KernelNode, var: Variable, alpha: Array, delta: Array) -> Any:
    return _step(node, _descended, [var], alpha, delta)


def _descended(var: Array, alpha: Array, delta: Array) -> tuple[Array, ...]:
    return (var - alpha * delta,)


@kernel("ApplyMomentum", "ResourceApplyMomentum")
def momentum(node: KernelNode, var: Variable, accum: Variable, *parameters: Array) -> Any:
    function = _nesterov if node.attr("use_nesterov") else _with_momentum
    return _step(node, function, [var, accum], *parameters)


def _with_momentum(
    var: Array, accum: Array, rate: Array, grad: Array, decay: Array
) -> tuple[Array, ...]:
    accum = accum * decay + grad
    return var - rate * accum, accum


def _nesterov(
    var: Array, accum: Array, rate: Array, grad: Array, decay: Array
) -> tuple[Array, ...]:
    accum = accum * decay + grad
    return var - (grad * rate + accum * decay * rate), accum


@kernel("ApplyAdam", "ResourceApplyAdam")
def adam(node: KernelNode, var: Variable, m: Variable, v: Variable, *parameters: Array) -> Any:
    if node.attr("use_nesterov"):
        return _step(node, _nesterov_adam, [var, m, v], *parameters)
    return _step(node, _adam, [var, m, v], *parameters)


def _adam(var: Array, m: Array, v: Array, *parameters: Array) -> tuple[Array, ...]:
    beta1_power, beta2_power, rate, beta1, beta2, epsilon, grad = parameters
    one = np.ones((), var.dtype)
    alpha = rate * np.sqrt(one - beta2_power) / (one - beta1_power)
    m = m + (grad - m) * (one - beta1)
    v = v + (grad * grad - v) * (one - beta2)
    return var - m * alpha / (np.sqrt(v) + epsilon), m, v


def _nesterov_adam(var: Array, m: Array, v: Array, *parameters: Array) -> tuple[Array, ...]:
    beta1_power, beta2_power, rate, beta1, beta2, epsilon, grad = parameters
    one = np.ones((), var.dtype)
    alpha = rate * np.sqrt(one - beta2_power) / (one - beta1_power)
    m = m + (grad - m) * (one - beta1)
    v = v + (grad * grad - v) * (one - beta2)
    step = (grad * (one - beta1) + beta1 * m) * alpha
    return var - step / (np.sqrt(v) + epsilon), m, v


@kernel("ApplyAdagrad", "ResourceApplyAdagrad")
def adagrad(node: KernelNode, var: Variable, accum: Variable, rate: Array, grad: Array) -> Any:
    function = _adagrad if node.attr("update_slots") else _adagrad_without_slots
    return _step(node, function, [var, accum], rate, grad)


def _adagrad(var: Array, accum: Array, rate: Array, grad: Array) -> tuple[Array, ...]:
    accum = accum + grad * grad
    return var - grad * rate / np.sqrt(accum), accum


def _adagrad_without_slots(var: Array, accum: Array, rate: Array, grad: Array) -> tuple[Array, ...]:
    return var - grad * rate / np.sqrt(accum), accum


@kernel("ApplyRMSProp", "ResourceApplyRMSProp")
def rmsprop(
    node: KernelNode, var: Variable, ms: Variable, mom: Variable, *parameters: Array
) -> Any:
    return _step(node, _rmsprop, [var, ms, mom], *parameters)


def _rmsprop(var: Array, ms: Array, mom: Array, *parameters: Array) -> tuple[Array, ...]:
    rate, rho, decay, epsilon, grad = parameters
    ms = ms + (grad * grad - ms) * (np.ones((), var.dtype) - rho)
    mom = mom * decay + rate * grad / np.sqrt(ms + epsilon)
    return var - mom, ms, mom


def _step(node: KernelNode, function: Any, variables: list[Variable], *parameters: Array) -> Any:
    """Give variables the values that a function of their values and the parameters computes."""
    with variable_of(variables[0]).lock:  # Its slots are changed together with it only.
        _change(node, function, variables, *parameters)
    return () if node.op.startswith("Resource") else variables[0]


def _change(node: KernelNode, function: Any, variables: list[Variable], *parameters: Array) -> None:
    values = [variable_of(variable).read() for variable in variables]
    grad = max(parameters, key=lambda parameter: parameter.ndim)
    for value in values:
        if value.shape != values[0].shape or (grad.ndim and grad.shape != value.shape):
            raise errors.InvalidArgument(
                f"the variable, its slots and the gradient must have the same shape, got "
                f"{list(values[0].shape)}, {list(value.shape)} and {list(grad.shape)}"
            )
    results = numeric(lambda _, *inputs: function(*inputs))(node, *values, *parameters)
    for variable, value, result in zip(variables, values, results, strict=True):
        variable.assign(np.asarray(result).astype(value.dtype, copy=False))
