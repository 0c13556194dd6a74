"""The session: runs what it is asked for of a graph, and keeps its variables.

With the engine "numpy", everything is computed here. With "tensorflow", the graph is handed to a
session of an installed TensorFlow, which then has the variables: for graphs with operations that
nothing here computes. One policy says for both what a graph may do to the machine.

Source: tensorflow/python/client/session.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

from ckptmgr import errors
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr.graph.executor import Executor, fed_strings
from ckptmgr.graph.fetches import Fetches, fed_values
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.policy import Policy
from ckptmgr.graph.state import SessionState
from ckptmgr.lifecycle.saver import is_durable
from ckptmgr.storage import Storage


class Engine(Protocol):
    """What computes."""

    def run(
        self,
        fetches: Sequence[Tensor | Operation],
        feeds: Mapping[Tensor, Any],
        named: frozenset[str],
    ) -> list[Any]:
        """The values of tensors; None for operations.

        Args:
            named: The strings among what is fed that are the caller's own: paths that may be
                touched.
        """

    def close(self) -> None:
        """Give up what was kept for runs to come."""


class Session:
    """Runs operations of one graph.

    Args:
        target: Of TensorFlow's servers; nothing here.
        graph: The default graph where it is None.
        config: TensorFlow's options; nothing here.
        engine: "numpy", or "tensorflow" for what only TensorFlow computes.
        allow_ops: The types of operations that may touch files and processes; see `policy`. All
            others are refused, with "tensorflow" before anything of the run has run, and also where
            it cannot be told beforehand which path an operation of an imported graph would touch.
        durability: "fsync" returns from saving when everything is on stable storage; "none" leaves
            that to the system, as TensorFlow does.
    """

    def __init__(  # noqa: PLR0913 - TensorFlow's arguments, and ours
        self,
        target: str = "",
        graph: Graph | None = None,
        config: Any = None,
        *,
        engine: str = "numpy",
        allow_ops: Iterable[str] = (),
        storage: Storage | None = None,
        durability: str = "fsync",
    ) -> None:
        _check_target(target)
        _check_config(config)
        self._target = target
        self._config = config
        self._graph = get_default_graph() if graph is None else graph
        if not isinstance(self._graph, Graph):
            raise errors.GraphTypeError(
                f'Argument `graph` must be a tf.Graph, but got "{type(graph).__name__}"'
            )
        self._state = SessionState(Policy(allow_ops), storage, durable=is_durable(durability))
        self._engine = _make_engine(engine, self._graph, self._state)
        self._is_closed = False
        self._entered: list[ExitStack] = []

    @property
    def graph(self) -> Graph:
        return self._graph

    @property
    def graph_def(self) -> GraphDef:
        return self._graph.as_graph_def()

    @property
    def sess_str(self) -> str:
        return self._target

    @property
    def state(self) -> SessionState:
        """What it keeps: variables, tables, and what its graphs may do."""
        return self._state

    # ----------------------------------------------------------------- running

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: Any = None,  # noqa: ARG002 - TensorFlow's
        run_metadata: Any = None,  # noqa: ARG002 - TensorFlow's
    ) -> Any:
        """The values of what is fetched, in the same structure; None for operations.

        Args:
            fetches: A tensor, an operation, the name of one, or a nested structure of these.
            feed_dict: Values to be used instead of what tensors would have.
            options: TensorFlow's; nothing here.
            run_metadata: TensorFlow's; it stays empty.
        Raises:
            GraphError: A fetch or feed is not of the graph, or does not fit it.
            KernelNotFound, OpRefused: Nothing can, or may, compute an operation that is needed.
            ExecutionFailed, UninitializedVariable: Naming the operation, or the variable.
        """
        return self.run_with_brought(fetches, feed_dict, {})

    def run_with_brought(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None,
        brought: Mapping[Any, Any],
    ) -> Any:
        """As `run`, with values fed beside that came with the graph.

        Args:
            brought: They name no path that the graph may touch, as those of `feed_dict` do.
        """
        self._check()
        wanted = Fetches(self._graph, fetches)
        passed = fed_values(self._graph, feed_dict)
        named = fed_strings(passed.values())
        feeds = {**fed_values(self._graph, brought), **passed}
        if not wanted.elements:
            return wanted.result([])
        return wanted.result(self._engine.run(wanted.elements, feeds, named))

    def make_callable(
        self,
        fetches: Any,
        feed_list: Sequence[Any] | None = None,
        accept_options: bool = False,  # noqa: ARG002 - it always does
    ) -> Callable[..., Any]:
        """A function that runs the same fetches, and takes a value for each tensor of a list."""
        if feed_list is not None and not isinstance(feed_list, list | tuple):
            raise errors.GraphTypeError("Argument `feed_list` must be a list or tuple.")
        self._check()
        wanted = Fetches(self._graph, fetches)
        keys = list(feed_list or ())

        def call(*values: Any, **_options: Any) -> Any:
            if len(values) != len(keys):
                raise errors.InvalidArgument(
                    f"the callable takes {len(keys)} values, found {len(values)}"
                )
            self._check()
            feeds = fed_values(self._graph, dict(zip(keys, values, strict=True)))
            named = fed_strings(feeds.values())
            return wanted.result(self._engine.run(wanted.elements, feeds, named))

        return call

    def _check(self) -> None:
        if self._is_closed:
            raise errors.SessionClosed("Attempted to use a closed Session.")
        if self._graph.version == 0:
            raise errors.EmptyGraph(
                "The Session graph is empty. Add operations to the graph before calling run()."
            )

    # ----------------------------------------------------------------- the default session

    def as_default(self) -> AbstractContextManager[Session]:
        """Make this the default session of the thread; its graph stays what it is."""
        return _as_default(self)

    def __enter__(self) -> Session:
        """Make it, and its graph, the defaults of the thread."""
        stack = ExitStack()
        stack.enter_context(self._graph.as_default())
        stack.enter_context(_as_default(self))
        self._entered.append(stack)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._entered.pop().close()
        self.close()

    def close(self) -> None:
        """Give up variables and tables; a second call does nothing."""
        self._is_closed = True
        self._state.clear()
        self._engine.close()


def _check_target(target: Any) -> None:
    if target is not None and not isinstance(target, str | bytes):
        hint = ". Did you do `Session(config)` instead of `Session(config=config)`?"
        raise errors.GraphTypeError(
            f'Argument `target` must be a string, but got "{type(target).__name__}"'
            f"{hint if _is_config(target) else ''}"
        )


def _check_config(config: Any) -> None:
    if config is not None and not _is_config(config):
        raise errors.GraphTypeError(
            f'Argument `config` must be a tf.ConfigProto, but got "{type(config).__name__}"'
        )


def _is_config(value: Any) -> bool:
    # By name: it is that of `compat`, above this layer, or the message of an installed TensorFlow.
    return any(kind.__name__ == "ConfigProto" for kind in type(value).__mro__)


class InteractiveSession(Session):
    """A session that is the default one from the start, until it is closed."""

    def __init__(self, target: str = "", graph: Graph | None = None, config: Any = None) -> None:
        super().__init__(target, graph, config)
        self._defaults = ExitStack()
        if graph is not None:
            self._defaults.enter_context(graph.as_default())
        self._defaults.enter_context(_as_default(self, in_order=False))

    def close(self) -> None:
        super().close()
        self._defaults.close()


def _make_engine(name: str, graph: Graph, state: SessionState) -> Engine:
    if name == "numpy":
        return Executor(graph, state)
    if name == "tensorflow":
        from ckptmgr.graph.tensorflow_engine import TensorFlowEngine

        return TensorFlowEngine(graph, state.policy)
    raise errors.InvalidArgument(f"engine must be 'numpy' or 'tensorflow', found {name!r}")


# --------------------------------------------------------------------------- the default session


class _Defaults(threading.local):
    def __init__(self) -> None:
        self.stack: list[Session] = []


_defaults = _Defaults()


@contextmanager
def _as_default(session: Session, *, in_order: bool = True) -> Iterator[Session]:
    _defaults.stack.append(session)
    try:
        yield session
    finally:
        if in_order and _defaults.stack[-1] is not session:
            raise errors.GraphError("Nesting violated for the default session")
        _defaults.stack.remove(session)


def get_default_session() -> Session | None:
    """The innermost session that is the thread's default."""
    return _defaults.stack[-1] if _defaults.stack else None


def evaluate(
    tensor: Tensor, feed_dict: Mapping[Any, Any] | None = None, session: Session | None = None
) -> Any:
    """The value of a tensor, by the default session where none is given: `Tensor.eval`."""
    return _session_for(tensor.graph, session, "evaluate tensor using `eval()`", "eval").run(
        tensor, feed_dict
    )


def run_operation(
    op: Operation, feed_dict: Mapping[Any, Any] | None = None, session: Session | None = None
) -> None:
    """Run an operation, by the default session where none is given: `Operation.run`."""
    _session_for(op.graph, session, "execute operation using `run()`", "run").run(op, feed_dict)


def _session_for(graph: Graph, session: Session | None, what: str, method: str) -> Session:
    found = session or get_default_session()
    if found is None:
        raise errors.NoDefaultSession(
            f"Cannot {what}: No default session is registered. Use `with sess.as_default()` or "
            f"pass an explicit session to `{method}(session=sess)`"
        )
    if found.graph is not graph:
        which = "the default session" if session is None else "the passed session"
        raise errors.NoDefaultSession(
            f"Cannot use {which} to {what}: the tensor's graph is different from the session's "
            f"graph. Pass an explicit session to `{method}(session=sess)`."
        )
    return found
