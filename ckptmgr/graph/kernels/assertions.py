"""Operations that tell, check or stop."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.control_flow import is_true
from ckptmgr.graph.kernels.registry import KernelNode, kernel

_log = logging.getLogger("ckptmgr.graph")
_LEVELS = {
    b"log(info)": logging.INFO,
    b"log(warning)": logging.WARNING,
    b"log(error)": logging.ERROR,
}


@kernel("Assert")
def check(node: KernelNode, condition: Array, *data: Array) -> tuple[()]:
    if not is_true(condition):
        texts = " ".join(f"[{summary(value, node.attr('summarize'))}]" for value in data)
        raise errors.InvalidArgument(f"assertion failed: {texts}")
    return ()


@kernel("Print")
def print_and_pass(node: KernelNode, value: Any, *data: Array) -> Any:
    texts = "".join(f"[{summary(item, node.attr('summarize'))}]" for item in data)
    print(node.attr("message").decode("utf-8", "replace") + texts, file=sys.stderr)  # noqa: T201
    return value


@kernel("PrintV2")
def print_text(node: KernelNode, text: Array) -> tuple[()]:
    target = node.attr("output_stream")
    message = text.item().decode("utf-8", "replace")
    if target in _LEVELS:
        _log.log(_LEVELS[target], "%s", message)
    elif target in (b"stdout", b"stderr"):
        stream = sys.stdout if target == b"stdout" else sys.stderr
        stream.write(message + node.attr("end").decode("utf-8", "replace"))
    else:
        raise errors.OpRefused(
            f"PrintV2 operation {node.name!r} would write to {target!r:.200} and was not run; only "
            f"stdout, stderr and the log can be printed to"
        )
    return ()


@kernel("Timestamp")
def timestamp(node: KernelNode) -> Array:
    return np.array(time.time())


def summary(value: Array, count: int) -> str:
    """The first elements of a tensor; all where `count` is negative."""
    flat = value.reshape(-1).tolist()
    shown = flat if count < 0 else flat[:count]
    texts = [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else _number(item)
        for item in shown
    ]
    return " ".join(texts) + ("..." if len(shown) < len(flat) else "")


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value)
