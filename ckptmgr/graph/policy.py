"""What a graph may do to the machine: graphs come from others, and running one runs their code.

Three kinds of operations touch more than numbers:

* Those that read or write any file, or call Python, are refused unless their type is allowed by
  name: `Session(allow_ops=("ReadFile",))`. Nothing that saving, restoring and serving needs is one.
* Those that read or write checkpoints and vocabularies are part of ordinary graphs. In a graph that
  the program built itself they run. In one that was imported, or in a function, they touch only
  what the caller named: a path that was fed in this run, as a Saver feeds it, or a file below a
  directory that was opened for reading, as a loader does with a model's assets.
* The others are numbers only.

A kernel asks for each path before it touches it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable

from ckptmgr import errors

#: Refused unless allowed by name. Of most of them no kernel is known here; a user may register one.
REFUSED = frozenset(
    {
        "EagerPyFunc",
        "FixedLengthRecordDataset",
        "FixedLengthRecordDatasetV2",
        "FixedLengthRecordReader",
        "FixedLengthRecordReaderV2",
        "GenerateVocabRemapping",
        "LMDBReader",
        "LoadAndRemapMatrix",
        "LoadDataset",
        "MatchingFiles",
        "MatchingFilesDataset",
        "PyFunc",
        "PyFuncStateless",
        "ReadFile",
        "RemoteCall",
        "SaveDataset",
        "SaveDatasetV2",
        "TFRecordDataset",
        "TFRecordDatasetV2",
        "TFRecordReader",
        "TFRecordReaderV2",
        "TextLineDataset",
        "TextLineReader",
        "TextLineReaderV2",
        "WholeFileReader",
        "WholeFileReaderV2",
        "WriteFile",
    }
)

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
        """Let graphs read the files below a directory: the assets of a model."""
        self._readable.add(os.path.realpath(directory))

    def check_type(self, op_type: str, node_name: str) -> None:
        """Raise OpRefused unless operations of a type may run at all."""
        if op_type in REFUSED and op_type not in self._allowed:
            raise errors.OpRefused(
                f"{op_type} operation {node_name!r} touches files or processes of this machine and "
                f"was not run; if you trust the graph, allow it with "
                f"Session(allow_ops=({op_type!r},))"
            )

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
            f"{'write' if writes else 'read'} {path!r}, a path that it brought along, and was not "
            f"run; feed the path, or if you trust the graph, allow the operation with "
            f"Session(allow_ops=({op_type!r},))"
        )

    def _is_readable(self, path: str) -> bool:
        real = os.path.realpath(path)
        return any(os.path.commonpath([top, real]) == top for top in self._readable)


def _is_derived(path: str, fed: str) -> bool:
    return bool(fed) and path.startswith(fed) and bool(_DERIVED.fullmatch(path, len(fed)))
