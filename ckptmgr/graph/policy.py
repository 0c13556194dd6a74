"""What a graph may do to the machine: graphs come from others, and running one runs their code.

Operations that touch more than numbers are those of the table in `effects`:

* Those that read or write any file, call Python or talk to others are refused unless their type is
  allowed by name: `Session(allow_ops=("ReadFile",))`. Nothing that saving, restoring and serving
  needs is one.
* Those that read or write checkpoints and vocabularies are part of ordinary graphs. In a graph that
  the program built itself they run. In one that was imported, or in a function, they touch only
  what the caller named: a path that was fed in this run, as a Saver feeds it, or a file below a
  directory that was opened for reading, as a loader does with a model's assets.
* What prints, prints to the terminal and the log.

A kernel asks for each path before it touches it. TensorFlow asks nobody: for it, `run_check` asks
before it runs anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable

from ckptmgr import errors
from ckptmgr.graph.effects import EFFECTS, PATH_INPUTS, PRINT

#: Refused unless allowed by name. Of most of them no kernel is known here; a user may register one,
#: and TensorFlow has its own.
REFUSED = frozenset(EFFECTS) - PATH_INPUTS.keys() - {PRINT}

#: Where PRINT may write to. Source: tensorflow/core/kernels/logging_ops.cc.
_STREAMS = frozenset({b"stdout", b"stderr", b"log(info)", b"log(warning)", b"log(error)"})

#: What a saver's graph makes of the path that it is fed: a temporary directory's shard, a V1
#: checkpoint's shard, and the pattern for all of these.
_DERIVED = re.compile(
    r"(_temp(_[0-9a-f]{32})?/part|\.part)?(-\d{5}-of-\d{5})?|-\?{5}-of-\d{5}",
    re.ASCII,
)


class Policy:
    """What one session allows.

    Args:
        allowed: The types of operations that may touch any file or process.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        if isinstance(allowed, str):
            raise errors.InvalidArgument(
                f"allow_ops must be a collection of types of operations, found the text {allowed!r}"
            )
        self._allowed = frozenset(allowed)
        self._readable: set[str] = set()

    def open_for_reading(self, directory: str) -> None:
        """Let graphs read the files below a directory, the assets of a model; not below a link."""
        parent, name = os.path.split(os.path.abspath(directory))
        self._readable.add(os.path.join(os.path.realpath(parent), name))

    def check_type(self, op_type: str, node_name: str) -> None:
        """Raise OpRefused unless operations of a type may run at all."""
        if not self.may_run(op_type):
            raise errors.OpRefused(
                f"{op_type} operation {node_name!r} touches files or processes of this machine and "
                f"was not run; if you trust the graph, {_how_to_allow(op_type)}"
            )

    def may_run(self, op_type: str) -> bool:
        """Whether operations of a type may run at all."""
        return op_type not in REFUSED or op_type in self._allowed

    def check_path(
        self, op_type: str, node_name: str, path: str, *, fed: Collection[str], writes: bool
    ) -> None:
        """Raise OpRefused unless an operation that the caller did not build may touch a path.

        Args:
            fed: The strings that were fed in this run.
        """
        if op_type in self._allowed or any(_is_derived(path, name) for name in fed):
            return
        if not writes and self._is_readable(path):
            return
        raise errors.OpRefused(
            f"{op_type} operation {node_name!r} of an imported graph would "
            f"{'write' if writes else 'read'} {_told(path)}, a path that it brought along, and was "
            f"not run; feed the path, or if you trust the graph, {_how_to_allow(op_type)}"
        )

    def check_unknown_path(self, op_type: str, node_name: str) -> None:
        """Raise OpRefused unless an operation that the caller did not build may touch any path."""
        if op_type not in self._allowed:
            raise errors.OpRefused(
                f"{op_type} operation {node_name!r} of an imported graph was not run: what path it "
                f"would touch cannot be told before it runs; feed the path, or if you trust the "
                f"graph, {_how_to_allow(op_type)}"
            )

    def check_stream(self, node_name: str, stream: bytes) -> None:
        """Raise OpRefused unless PRINT may write to a stream."""
        if stream not in _STREAMS and PRINT not in self._allowed:
            raise errors.OpRefused(
                f"{PRINT} operation {node_name!r} would write to {stream!r:.200} and was not run; "
                f"if you trust the graph, {_how_to_allow(PRINT)}"
            )

    def _is_readable(self, path: str) -> bool:
        # What is in front of "://" is a file system of TensorFlow's own; no path has a NUL.
        if "://" in path or "\0" in path:
            return False
        real = os.path.realpath(path)
        return any(os.path.commonpath([top, real]) == top for top in self._readable)


def _is_derived(path: str, fed: str) -> bool:
    return bool(fed) and path.startswith(fed) and bool(_DERIVED.fullmatch(path, len(fed)))


def _told(path: str) -> str:
    """A path, and what it leads to where there are links in it, as in a cache of a model hub."""
    if "\0" in path or os.path.realpath(path) == os.path.abspath(path):
        return repr(path)
    return f"{path!r}, which leads to {os.path.realpath(path)!r}"


def _how_to_allow(op_type: str) -> str:
    return f"allow it with allow_ops=({op_type!r},), of Session or of saved_model.load"
