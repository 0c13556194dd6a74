"""What a session keeps from run to run: variables, tables, and where random numbers stand.

Things are found by what they are, the container and the name, as in TensorFlow: two operations with
the same shared name share one variable.

Arrays within a session are never changed: an update makes a new one. So a value may be in a
variable, a table and a result at once. What comes from the user is copied at the border, and so is
what goes out, unless nobody else can hold it.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.policy import Policy
from ckptmgr.graph.tensor_shape import Shape, are_compatible
from ckptmgr.lifecycle.registrations import WriterRegistrations
from ckptmgr.storage import PosixStorage, Storage

_Resource = TypeVar("_Resource")

#: What TensorFlow calls the container of those that name none.
DEFAULT_CONTAINER = "localhost"


class Variable:
    """A variable of a session; it is the value of a reference, or of a handle, to it.

    Args:
        shape: What its operation says of it.
    Attributes:
        lock: Held by a change that begins with the value there is: of those that several threads
            make at once, none gets lost.
    """

    __slots__ = ("_value", "dtype", "lock", "name", "shape")

    def __init__(self, name: str, dtype: DataType, shape: Shape) -> None:
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.lock = threading.RLock()
        self._value: Array | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Locks are neither copied nor pickled: whatever is made of this one has its own.
        return Variable, (self.name, self.dtype, self.shape), (None, {"_value": self._value})

    @property
    def is_initialized(self) -> bool:
        return self._value is not None

    def read(self) -> Array:
        """The value, which must not be changed.

        Raises:
            UninitializedVariable: There is none yet.
        """
        if self._value is None:
            raise errors.UninitializedVariable(f"Attempting to use uninitialized value {self.name}")
        return self._value

    def assign(self, value: Array, *, expected: Shape = None) -> None:
        """Give it a value.

        Raises:
            ShapeMismatch: The value does not have the expected shape.
        """
        if not are_compatible(expected, value.shape):
            raise errors.ShapeMismatch(
                f"Assign requires shapes of both tensors to match. lhs shape= "
                f"{_in_brackets(expected)} rhs shape= {_in_brackets(value.shape)}"
            )
        kept = frozen(value)
        with self.lock:
            self._value = kept

    def forget(self) -> None:
        """Be uninitialized again."""
        self._value = None


def _in_brackets(shape: Shape) -> str:
    """As TensorFlow's kernels print a shape: "[2,?]"."""
    sizes = ("?" if size is None else str(size) for size in shape or ())
    return f"[{','.join(sizes)}]"


def frozen(value: Array) -> Array:
    """An array that is kept: itself if it owns its memory, and read-only from now on."""
    value = np.asarray(value)
    if value.base is not None or not value.flags.owndata:
        value = value.copy()
    value.flags.writeable = False
    return value


def released(value: Array) -> Array:
    """An array for the user, who may change it: itself if nothing else can see its memory."""
    is_private = value.base is None and value.flags.owndata and value.flags.writeable
    return value if is_private else np.array(value)


class SessionState:
    """Everything that outlives a run.

    Args:
        storage: Where files are.
        durable: Whether checkpoints are on stable storage when the operation that saves has run.
    """

    def __init__(
        self, policy: Policy, storage: Storage | None = None, *, durable: bool = True
    ) -> None:
        self.policy = policy
        self.storage = storage or PosixStorage()
        self.durable = durable
        #: The directories that checkpoints are saved into.
        self.writers = WriterRegistrations(self.storage)
        self._resources: dict[tuple[str, str, str], Any] = {}
        self._generators: dict[object, np.random.Generator] = {}

    # ----------------------------------------------------------------- resources

    def resource(
        self, kind: str, container: str, name: str, make: Callable[[], _Resource]
    ) -> _Resource:
        """The thing of a kind with that name; the first who asks makes it."""
        key = (kind, container or DEFAULT_CONTAINER, name)
        found: _Resource | None = self._resources.get(key)
        if found is None:
            # Of several threads that ask for it at once, all get the same.
            found = self._resources.setdefault(key, make())
        return found

    def reference_variable(
        self, name: str, dtype: DataType, shape: Shape, container: str = ""
    ) -> Variable:
        """The variable of VariableV2 operations with that name."""
        make = _maker(name, dtype, shape)
        return self._checked(self.resource("reference", container, name, make), dtype)

    def resource_variable(
        self, name: str, dtype: DataType, shape: Shape, container: str = ""
    ) -> Variable:
        """The variable of VarHandleOp operations with that name."""
        make = _maker(name, dtype, shape)
        return self._checked(self.resource("variable", container, name, make), dtype)

    def _checked(self, variable: Variable, dtype: DataType) -> Variable:
        if variable.dtype != dtype:
            raise errors.InvalidArgument(
                f"Trying to access resource {variable.name} with wrong dtype. Expected "
                f"{variable.dtype.name} got {dtype.name}"
            )
        return variable

    def forget(self, resource: object) -> bool:
        """Let a name stand for nothing again; whether it stood for `resource`."""
        keys = [key for key, value in self._resources.items() if value is resource]
        for key in keys:
            del self._resources[key]
        return bool(keys)

    def clear(self) -> None:
        self._resources.clear()
        self._generators.clear()

    # ----------------------------------------------------------------- random numbers

    def generator(self, owner: object, seed: int, seed2: int) -> np.random.Generator:
        """Where the random numbers of one operation stand.

        Two seeds of zero mean any numbers; others give the same ones in each session.
        """
        found = self._generators.get(owner)
        if found is None:
            entropy = [seed % 2**64, seed2 % 2**64] if seed or seed2 else secrets.randbits(128)
            generator = np.random.Generator(np.random.PCG64(entropy))
            found = self._generators.setdefault(owner, generator)
        return found


def _maker(name: str, dtype: DataType, shape: Shape) -> Callable[[], Variable]:
    return lambda: Variable(name, dtype, shape)
