"""Files of any kind. The session's policy refuses these unless they are allowed by name."""

from __future__ import annotations

import fnmatch
import os
from contextlib import closing

import numpy as np

from ckptmgr import arguments, errors, naming
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.context import KernelContext
from ckptmgr.graph.kernels.registry import KernelNode, stateful_kernel
from ckptmgr.storage import replace_file


@stateful_kernel("ReadFile")
def read_file(context: KernelContext, node: KernelNode, filename: Array) -> Array:
    with closing(context.storage.open(_path(filename))) as file:
        return np.array(file.read(0, file.size_bytes), object)


@stateful_kernel("WriteFile")
def write_file(
    context: KernelContext, node: KernelNode, filename: Array, contents: Array
) -> tuple[()]:
    """In one step for every reader; directories are made where they are missing."""
    path = _path(filename)
    context.storage.make_dirs(naming.directory_of(path))
    replace_file(
        context.storage,
        path,
        contents.item(),
        temporary=naming.temporary(path, naming.new_token()),
        durable=context.state.durable,
    )
    return ()


@stateful_kernel("MatchingFiles")
def matching_files(context: KernelContext, node: KernelNode, pattern: Array) -> Array:
    """Sorted. Only the last part of a pattern may have wildcards."""
    found: set[str] = set()
    for text in (item.decode("utf-8", "surrogateescape") for item in pattern.reshape(-1).tolist()):
        directory, last = os.path.split(text)
        try:
            names = context.storage.list_dir(directory or ".")
        except (errors.FileMissing, errors.NotADirectory):
            continue
        found.update(
            os.path.join(directory, name) for name in names if fnmatch.fnmatchcase(name, last)
        )
    result = np.empty(len(found), object)
    result[:] = [path.encode("utf-8", "surrogateescape") for path in sorted(found)]
    return result


def _path(value: Array) -> str:
    return arguments.path_text(value.item().decode("utf-8", "surrogateescape"))
