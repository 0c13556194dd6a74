"""Every exception that ckptmgr raises on purpose, all under `CheckpointError`.

Three families:

* `InvalidArgument`: the caller asked for something that cannot be done. Raised before anything is
  written or changed.
* `CorruptCheckpoint`: bytes on disk are not what a writer can have written. One class per distinct
  corruption, each carrying the file, the tensor, what was expected and what was found.
* `StorageError`: the operating system refused. Also an `OSError`, with its `errno`.

Each class also derives from the built-in that TensorFlow or Python users already catch in that
place (`ValueError`, `KeyError`, `FileNotFoundError`, ...).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TypeVar

from ckptmgr import statuses

CheckpointError = statuses.CheckpointError
InvalidArgument = statuses.InvalidArgument
DeadlineExceeded = statuses.DeadlineExceeded
NotFound = statuses.NotFound
AlreadyExists = statuses.AlreadyExists
NotPermitted = statuses.NotPermitted
FailedPrecondition = statuses.FailedPrecondition
OutOfRange = statuses.OutOfRange
Unimplemented = statuses.Unimplemented
Internal = statuses.Internal
DataLoss = statuses.DataLoss


# --------------------------------------------------------------------------- what the caller asked


class InvalidStep(InvalidArgument):
    """A step that is not a whole number of at least zero."""


class InvalidName(InvalidArgument):
    """A tensor name or a prefix that TensorFlow could not read back."""


class DuplicateName(InvalidArgument):
    """Two leaves of one state, or two tensors of one bundle, with the same name."""


class InvalidMetric(InvalidArgument):
    """A metric that is not a number."""


class UnsupportedLeaf(InvalidArgument, TypeError):
    """A leaf of the state that is not an array, a number, a string or None."""


class UnsupportedDtype(InvalidArgument, TypeError):
    """A dtype that the file format, or this installation, cannot hold."""


class StructureMismatch(InvalidArgument):
    """The target and the checkpoint are trees of different shape."""


class ShapeMismatch(InvalidArgument):
    """A tensor of one shape was asked to go into a target of another."""


class DtypeMismatch(InvalidArgument, TypeError):
    """A tensor of one dtype was asked to go into a target of another."""


class TensorNotFound(NotFound, InvalidArgument, KeyError):
    """The checkpoint holds no tensor of that name."""

    __str__ = Exception.__str__  # KeyError's own shows repr(message)


class StateRefused(CheckpointError, RuntimeError):
    """An object's `load_state_dict` raised while a checkpoint was restored; `__cause__` is what.

    Or the class of a number did, such as an IntEnum that has no such member.
    """


class CheckpointNotFound(NotFound, FileNotFoundError, ValueError):
    """There is no checkpoint at that prefix, or no such step in the directory.

    Also a `ValueError`: that is what `tf.train.Saver.restore` and `tf.train.load_checkpoint` raise.
    """

    __str__ = Exception.__str__


class ManagerClosed(CheckpointError, RuntimeError):
    """The manager was used after `close()`."""


class SaveInProgress(CheckpointError, RuntimeError):
    """A listener or a signal handler asked for a save from within a save of the same manager."""


class GraceExceeded(CheckpointError, TimeoutError):
    """What a preemption asked for was not durable in time and was given up."""


class DirectoryInUse(CheckpointError, RuntimeError):
    """A writer lives, or has changed the directory meanwhile; nothing was repaired."""


class CannotVerify(CheckpointError, RuntimeError):
    """Something keeps us from reading a checkpoint that may be whole, such as a permission."""


class MissingExtra(CheckpointError, ImportError):
    """An optional dependency is needed; the message names the extra that installs it."""

    __str__ = Exception.__str__


# --------------------------------------------------------------------------- what the files hold

_Corrupt = TypeVar("_Corrupt", bound="CorruptCheckpoint")


class CorruptCheckpoint(DataLoss):
    """Bytes on disk that no correct writer leaves there.

    Args:
        problem: What is wrong, without the file.
        path: The file, once the layer that read it is known.
        tensor: The tensor concerned, if one is.
        expected: What a sound file would have here.
        found: What is here.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | None = None,
        tensor: str | None = None,
        expected: object = None,
        found: object = None,
    ) -> None:
        self.problem = problem
        self.path = path
        self.tensor = tensor
        self.expected = expected
        self.found = found
        super().__init__(problem)

    def located(self: _Corrupt, *, path: str | None = None, tensor: str | None = None) -> _Corrupt:
        """The same error with the file and tensor that only the caller knows."""
        return type(self)(
            self.problem,
            path=self.path or path,
            tensor=self.tensor or tensor,
            expected=self.expected,
            found=self.found,
        )

    def __str__(self) -> str:
        text = f"{self.path}: {self.problem}" if self.path else self.problem
        if self.tensor is not None:
            text += f", tensor {self.tensor!r}"
        if self.expected is not None or self.found is not None:
            text += f": expected {self.expected}, found {self.found}"
        return text

    def __reduce__(self) -> tuple[object, ...]:
        fields = (self.problem, self.path, self.tensor, self.expected, self.found)
        return _rebuild_corrupt, (type(self), *fields)


def _rebuild_corrupt(
    kind: type[_Corrupt],
    problem: str,
    path: str | None,
    tensor: str | None,
    expected: object,
    found: object,
) -> _Corrupt:
    return kind(problem, path=path, tensor=tensor, expected=expected, found=found)


class ChecksumMismatch(CorruptCheckpoint):
    """Stored and computed CRC-32C differ."""


class TruncatedFile(CorruptCheckpoint):
    """A file ends before something that it, or its index, says it holds."""


class NotATable(CorruptCheckpoint):
    """The footer's magic number is not that of a sorted table."""


class MalformedTable(CorruptCheckpoint):
    """A block, handle or entry of a sorted table that cannot be decoded."""


class MalformedEntry(CorruptCheckpoint):
    """A bundle header or entry whose fields contradict each other or the files."""


class MalformedTensor(CorruptCheckpoint):
    """The bytes of one tensor that its entry cannot describe."""


class MalformedSlices(CorruptCheckpoint):
    """Stored slices that overlap, leave the tensor, or do not cover what is asked."""


class MalformedState(CorruptCheckpoint):
    """A `checkpoint` file that does not parse as CheckpointState."""


class MalformedMetadata(CorruptCheckpoint):
    """The manager's own JSON tensor that does not say what it must."""


class MissingShard(CorruptCheckpoint):
    """The index names a data shard that is not there."""


class UnsupportedVersion(CorruptCheckpoint):
    """Written by a later format than this package reads."""


# --------------------------------------------------------------------------- graphs and models


class GraphError(CheckpointError, ValueError):
    """Something that a graph is asked for, or given, and cannot be meant."""


class InvalidOperation(GraphError):
    """An operation whose inputs, attributes or name its type does not take."""


class GraphTypeError(GraphError, TypeError):
    """A value, input or attribute of another dtype or kind than what was asked for."""


class NodeNotFound(GraphError, KeyError):
    """The graph has no operation or tensor of that name."""

    __str__ = Exception.__str__


class DestinationNotFound(NodeNotFound, AssertionError):
    """A graph is to be cut at a node that it does not have."""


class InvalidGraph(GraphError):
    """A GraphDef, or a function in it, that describes no graph."""


class GraphFinalized(GraphError, RuntimeError):
    """The graph was finalized and does not change any more."""


class MalformedGraph(CorruptCheckpoint, GraphError, OSError):
    """A file that does not parse as the GraphDef, MetaGraphDef or SavedModel that it should be.

    Also an `OSError`: that is what TensorFlow's readers of these files raise.
    """

    __str__ = CorruptCheckpoint.__str__


class KernelNotFound(Unimplemented, GraphError):
    """No function is registered that computes this type of operation."""


class UninitializedVariable(FailedPrecondition, RuntimeError):
    """A variable was read before it had a value."""


class ExecutionFailed(CheckpointError, RuntimeError):
    """An operation could not be computed; `__cause__` is why. Raised as one of those below.

    Args:
        problem: What went wrong, without the operation.
        node: The name of the operation.
        op_type: Its type.
    """

    def __init__(self, problem: str, *, node: str, op_type: str) -> None:
        self.problem = problem
        self.node = node
        self.op_type = op_type
        super().__init__(f"{op_type} operation {node!r}: {problem}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_execution_failed, (type(self), self.problem, self.node, self.op_type)


def _rebuild_execution_failed(
    kind: type[ExecutionFailed], problem: str, node: str, op_type: str
) -> ExecutionFailed:
    return kind(problem, node=node, op_type=op_type)


class KernelFailed(ExecutionFailed, Internal):
    """What computes an operation failed, and nothing says that its operands are why."""

    error_code = Internal.error_code


class InvalidOperand(ExecutionFailed, InvalidArgument):
    """An operation got values that it cannot mean."""

    error_code = InvalidArgument.error_code


class OperandNotFound(ExecutionFailed, NotFound, LookupError):
    """An operation did not find the file, the checkpoint or the tensor that it was told to."""

    error_code = NotFound.error_code


class OperandDamaged(ExecutionFailed, DataLoss):
    """An operation read a file that is damaged."""

    error_code = DataLoss.error_code


class LimitReached(ExecutionFailed, OutOfRange):
    """A counter is at its end."""

    error_code = OutOfRange.error_code


class SessionClosed(CheckpointError, RuntimeError):
    """A session was used after it was closed, or told to stop."""


class ModelNotReady(CheckpointError, RuntimeError):
    """Variables of a session have no values, and nothing that was given sets them."""


class NotExactlyOne(GraphError, RuntimeError):
    """A graph has none, or several, of what it must have one of: a step, a Saver, an operation."""


class ThreadsStillRunning(CheckpointError, RuntimeError):
    """Threads that were told to stop did not, in the time that they were given."""


class SupervisorMisused(CheckpointError, RuntimeError):
    """A Supervisor was asked for what it was not made for."""


class EmptyGraph(GraphError, RuntimeError):
    """A session was asked to run a graph that has no operations."""


class NoDefaultSession(GraphError):
    """A tensor or operation is to be run, and no session of its graph is the default one."""


class OpRefused(CheckpointError, RuntimeError):
    """An operation that touches files or processes and was not allowed by name."""


class SignatureError(CheckpointError, ValueError):
    """A signature that is not sound, or a call that does not fit it."""


class SignatureNotFound(SignatureError, KeyError):
    """The model has no signature of that key."""

    __str__ = Exception.__str__


class InvalidTensorInfo(SignatureError, AssertionError):
    """What a signature says of a tensor does not tell which one, or of which dtype."""


class ReservedSignatureKey(SignatureError, KeyError):
    """A key that leads to the operations that set a model up, and is nobody's to use."""

    __str__ = Exception.__str__


class InvalidInitOp(GraphError, RuntimeError):
    """A SavedModel that does not have one operation that sets it up, but several."""


class InvalidExport(CheckpointError, AssertionError):
    """A SavedModel cannot be built there, or not in this order of calls."""


class SavedModelNotFound(NotFound, FileNotFoundError):
    """The directory holds no SavedModel."""

    __str__ = Exception.__str__


class TagsNotFound(CheckpointError, RuntimeError):
    """No MetaGraph of the SavedModel has exactly these tags."""


# --------------------------------------------------------------------------- what the system did


class StorageError(CheckpointError, OSError):
    """A system call failed; `errno` and `filename` are those of the call."""

    def __init__(self, *arguments: object) -> None:
        # A number, a text and a path, as every error of the system has.
        OSError.__init__(self, *arguments)
        self._payloads = ()

    @classmethod
    def of(cls, error: OSError, doing: str, path: str) -> StorageError:
        """Wrap what the system said, naming what was being done to which file."""
        kind = _kind_of(error)
        number = error.errno if error.errno is not None else 0
        reason = error.strerror or str(error)
        return kind(number, f"cannot {doing} {path}: {reason}", path)

    def __str__(self) -> str:
        return self.strerror or super().__str__()


class FileMissing(StorageError, NotFound, FileNotFoundError):
    """No such file or directory."""


class FileExists(StorageError, AlreadyExists, FileExistsError):
    """The file is already there and must not be replaced."""


class PermissionDenied(StorageError, NotPermitted, PermissionError):
    """The file system does not let this user do that."""


class NotADirectory(StorageError, NotADirectoryError):
    """A file stands where a directory is needed."""


class LockTimeout(DeadlineExceeded):
    """Another process kept the directory's lock for longer than we were told to wait."""


def _kind_of(error: OSError) -> type[StorageError]:
    for builtin, kind in (
        (FileNotFoundError, FileMissing),
        (FileExistsError, FileExists),
        (PermissionError, PermissionDenied),
        (NotADirectoryError, NotADirectory),
    ):
        if isinstance(error, builtin):
            return kind
    return StorageError


# --------------------------------------------------------------------------- wording shared by all


def near_misses(name: str, known: Iterable[str], limit: int = 3) -> str:
    """A sentence naming the known names closest to `name`, or an empty string.

    A name that differs only by its scope ("w" for "layer1/w") counts as close, and case does not
    count. A scope, or directory, that all of them are in says nothing about which is closest.
    """
    names = list(known)
    scope = name[: name.rfind("/") + 1]
    start = len(scope) if all(other.startswith(scope) for other in names) else 0
    spellings: dict[str, list[str]] = {}
    # difflib is quadratic in the length of the list; the first few thousand are plenty for a hint.
    for other in names[:5000]:
        spellings.setdefault(other[start:].casefold(), []).append(other)
    wanted = name[start:].casefold()
    matches = difflib.get_close_matches(wanted, spellings, n=limit)
    close = [spelling for match in matches for spelling in spellings[match]]
    last = wanted.rsplit("/", 1)[-1]
    same_leaf = [other for other in names if other.rsplit("/", 1)[-1].casefold() == last]
    found = list(dict.fromkeys([*close, *same_leaf]))[:limit]
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""
