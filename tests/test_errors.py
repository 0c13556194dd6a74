"""The wording that every layer shares."""

from __future__ import annotations

import pytest

from ckptmgr import errors


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("m-30", ["m-3", "other"], " Did you mean 'm-3'?"),
        ("w", ["layer/w", "layer/b"], " Did you mean 'layer/w'?"),
        ("LAYER1/KERNEL", ["layer1/kernel", "layer1/bias"], " Did you mean 'layer1/kernel'?"),
        ("model.ckpt-900", ["MODEL.CKPT-900"], " Did you mean 'MODEL.CKPT-900'?"),
        ("W", ["layer/w"], " Did you mean 'layer/w'?"),
        ("Kernel", ["kernel", "KERNEL"], " Did you mean 'kernel' or 'KERNEL'?"),
        ("b", ["layer/w"], ""),
        ("b", [], ""),
        # Where all are in one directory, that does not make them alike.
        (
            "runs/2026/first/model.ckpt-90",
            ["runs/2026/first/model.ckpt-900", "runs/2026/first/zebra"],
            " Did you mean 'runs/2026/first/model.ckpt-900'?",
        ),
        ("runs/2026/first/x", ["runs/2026/first/model.ckpt-900"], ""),
    ],
)
def test_near_misses(name: str, known: list[str], hint: str) -> None:
    assert errors.near_misses(name, known) == hint
