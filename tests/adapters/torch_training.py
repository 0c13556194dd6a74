"""A small training of every ordinary kind of PyTorch's state, for test_torch.py.

    torch_training.py DIRECTORY SEED LAST_STEP [SAVED_STEP]

Goes on from what the directory holds to the last step, saves behind SAVED_STEP, and prints what
every part of the state then is.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

import ckptmgr

VOCABULARY = 12


class Network(nn.Module):  # type: ignore[misc]
    """An embedding whose weight is the head's too, batch norm's buffers, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.recurrent = nn.GRU(8, 8, batch_first=True)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(8, VOCABULARY)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Any) -> Any:
        hidden, _ = self.recurrent(self.embedding(tokens))
        return self.head(self.dropout(self.norm(hidden[:, -1])))


OPTIMIZERS: dict[str, Callable[[Any], tuple[Any, Any]]] = {}


def _training(make: Callable[[Any], tuple[Any, Any]]) -> Callable[[Any], tuple[Any, Any]]:
    OPTIMIZERS[make.__name__] = make
    return make


@_training
def adamw_one_cycle(parameters: Any) -> tuple[Any, Any]:
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    return optimizer, lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=50)


@_training
def sgd_multi_step(parameters: Any) -> tuple[Any, Any]:
    optimizer = torch.optim.SGD(parameters, lr=1, momentum=0.9, nesterov=True)
    return optimizer, lr_scheduler.MultiStepLR(optimizer, [2, 6], gamma=0.1)


@_training
def adam_sequential(parameters: Any) -> tuple[Any, Any]:
    optimizer = torch.optim.Adam(parameters, lr=torch.tensor(0.01), amsgrad=True)
    parts = [lr_scheduler.LinearLR(optimizer), lr_scheduler.CosineAnnealingLR(optimizer, 20)]
    return optimizer, lr_scheduler.SequentialLR(optimizer, parts, [3])


@_training
def rmsprop_plateau(parameters: Any) -> tuple[Any, Any]:
    optimizer = torch.optim.RMSprop(parameters, lr=0.01, momentum=0.5, centered=True)
    return optimizer, lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)


def train_step(state: dict[str, Any]) -> None:
    tokens = torch.randint(VOCABULARY, (16, 5), generator=state["data"])
    with torch.autocast("cpu", torch.bfloat16):
        loss = nn.functional.cross_entropy(state["model"](tokens), tokens[:, 0])
    state["optimizer"].zero_grad()
    state["scaler"].scale(loss).backward()
    state["scaler"].step(state["optimizer"])
    state["scaler"].update()
    is_plateau = isinstance(state["scheduler"], lr_scheduler.ReduceLROnPlateau)
    state["scheduler"].step(*[loss.item()] * is_plateau)


def run(name: str, directory: Path, seed: int, last_step: int, saved_step: int) -> Any:
    torch.manual_seed(seed)
    model = Network()
    optimizer, scheduler = OPTIMIZERS[name](model.parameters())
    state = {
        "model": model,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "scaler": torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2),
        "data": torch.Generator().manual_seed(seed),
        "random": torch.get_rng_state(),
        "step": 0,
    }
    with ckptmgr.CheckpointManager(state, directory / name) as manager:
        if manager.restore() is not None:
            torch.set_rng_state(state["random"])
        for step in range(state["step"] + 1, last_step + 1):
            train_step(state)
            if step == saved_step:
                state |= {"step": step, "random": torch.get_rng_state()}
                manager.save(step)
    return {"random": described(torch.get_rng_state())} | {
        part: described(value.state_dict() if hasattr(value, "state_dict") else value)
        for part, value in state.items()
        if part not in {"random", "step"}
    }


def described(value: Any) -> Any:
    """A value in words of JSON, its bits included."""
    if isinstance(value, dict):
        return {str(key): described(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [described(child) for child in value]
    if isinstance(value, torch.Generator):
        value = value.get_state()
    if isinstance(value, torch.Tensor):
        bits = value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        digest = hashlib.sha256(bits).hexdigest()
        return f"{value.dtype} {tuple(value.shape)} {value.requires_grad} {digest}"
    return f"{type(value).__name__} {value!r}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    where, *numbers = sys.argv[1:]
    seed_, last, saved = (*map(int, numbers), 0)[:3]
    found = {name: run(name, Path(where), seed_, last, saved) for name in OPTIMIZERS}
    json.dump(found, sys.stdout)
