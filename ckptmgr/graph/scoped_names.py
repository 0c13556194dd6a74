"""Names of nodes and tensors that move into a scope or out of one.

"^x" names an operation to wait for, "loc:@x" a colocation; what stands in front of the name stays.

Source: tensorflow/python/framework/ops.py (strip_name_scope, prepend_name_scope).
"""

from __future__ import annotations

import re

_NAME = re.compile(r"(\^|loc:@|)(.*)", re.DOTALL)


def into_scope(name: str, scope: str | None) -> str:
    """`name` as it is called in a graph that was imported into `scope`."""
    if not scope:
        return name
    match = _NAME.fullmatch(name)
    assert match is not None
    return f"{match.group(1)}{scope.rstrip('/')}/{match.group(2)}"


def out_of_scope(name: str, scope: str | None) -> str:
    """`name` without the scope in front of it; as it is where it lies in another one."""
    if not scope:
        return name
    match = _NAME.fullmatch(name)
    assert match is not None
    inner = match.group(2).removeprefix(scope.rstrip("/") + "/")
    return match.group(1) + inner.lstrip("/") if inner != match.group(2) else name


def lies_in_scope(name: str, scope: str | None) -> bool:
    """Whether TensorFlow counts a name as one of the scope: it begins with that text."""
    return not scope or name.startswith(scope)
