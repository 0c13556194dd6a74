"""A network with one hidden layer, trained by gradient descent with momentum. Just NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from examples.digits.data import Array

HIDDEN_UNITS = 64
BATCH_SIZE = 8
LEARNING_RATE = 0.0012
MOMENTUM = 0.9
#: Added to the pixels while training, so that no two passes over the data are alike.
NOISE = 0.1


def initial_state(seed: int) -> dict[str, Any]:
    """Everything that the next step depends on; saving all of it makes a resume exact."""
    rng = np.random.default_rng(seed)
    params = {
        "hidden": rng.normal(0, 64**-0.5, (64, HIDDEN_UNITS)).astype(np.float32),
        "hidden_bias": np.zeros(HIDDEN_UNITS, np.float32),
        "output": rng.normal(0, HIDDEN_UNITS**-0.5, (HIDDEN_UNITS, 10)).astype(np.float32),
        "output_bias": np.zeros(10, np.float32),
    }
    momentum = {name: np.zeros_like(value) for name, value in params.items()}
    return {"params": params, "momentum": momentum, "rng": rng, "global_step": 0}


def train_step(state: dict[str, Any], images: Array, labels: Array) -> None:
    """Draw a batch and change the state by one step."""
    rng = state["rng"]
    batch = rng.integers(len(images), size=BATCH_SIZE)
    noise = rng.standard_normal((BATCH_SIZE, 64), np.float32) * np.float32(NOISE)
    for name, gradient in _gradients(state["params"], images[batch] + noise, labels[batch]).items():
        velocity = state["momentum"][name]
        velocity *= MOMENTUM
        velocity -= LEARNING_RATE * gradient
        state["params"][name] += velocity
    state["global_step"] += 1


def evaluate(params: dict[str, Array], images: Array, labels: Array) -> tuple[float, float]:
    """The mean loss, and the share of the images that it reads right."""
    _, probabilities = _forward(params, images)
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    accuracy = (probabilities.argmax(axis=1) == labels).mean()
    return float(loss), float(accuracy)


def _forward(params: dict[str, Array], images: Array) -> tuple[Array, Array]:
    hidden = np.maximum(images @ params["hidden"] + params["hidden_bias"], 0)
    logits = hidden @ params["output"] + params["output_bias"]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return hidden, exponentials / exponentials.sum(axis=1, keepdims=True)


def _gradients(params: dict[str, Array], images: Array, labels: Array) -> dict[str, Array]:
    """Of the mean cross entropy."""
    hidden, at_logits = _forward(params, images)
    at_logits[np.arange(len(labels)), labels] -= 1
    at_logits /= len(labels)
    at_hidden = (at_logits @ params["output"].T) * (hidden > 0)
    return {
        "hidden": images.T @ at_hidden,
        "hidden_bias": at_hidden.sum(axis=0),
        "output": hidden.T @ at_logits,
        "output_bias": at_logits.sum(axis=0),
    }
