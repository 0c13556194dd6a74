"""The operations and the Saver that a session needs which gets itself ready.

Each is what the program gave, or what stands in the collection for it, or is made and put there; a
graph that is imported with its collections brings them along.

Source: tensorflow/python/training/monitored_session.py (class Scaffold).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1.arrays import concat
from ckptmgr.compat.v1.conversion import apply, tensor
from ckptmgr.compat.v1.logging import get_logger
from ckptmgr.compat.v1.scopes import get_collection, group
from ckptmgr.compat.v1.state_functions import (
    names_of_missing,
    report_uninitialized_variables,
    tables_initializer,
)
from ckptmgr.graph.graph import get_default_graph
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.saver import Saver
from ckptmgr.graph.variables import (
    global_variables,
    global_variables_initializer,
    local_variables_initializer,
)

_log = get_logger()


class Scaffold:
    """Finds or makes what a session needs that gets itself ready.

    Args:
        init_op, init_feed_dict: What initializes, and what is fed to it.
        init_fn: Called with the scaffold and the session after `init_op`.
        ready_op: Names what has no value.
        ready_for_local_init_op: Names what has none that `local_init_op` needs.
        local_init_op, local_init_feed_dict: What initializes all that is not saved.
        summary_op: Kept for programs that ask for it; nothing here runs it.
        copy_from_scaffold: Where to take what is not given from.
    """

    def __init__(
        self,
        init_op: Any = None,
        init_feed_dict: Mapping[Any, Any] | None = None,
        init_fn: Callable[[Scaffold, Any], Any] | None = None,
        ready_op: Any = None,
        ready_for_local_init_op: Any = None,
        local_init_op: Any = None,
        summary_op: Any = None,
        saver: Any = None,
        copy_from_scaffold: Scaffold | None = None,
        local_init_feed_dict: Mapping[Any, Any] | None = None,
    ) -> None:
        if copy_from_scaffold is not None and not isinstance(copy_from_scaffold, Scaffold):
            raise errors.GraphTypeError("copy_from_scaffold is not a Scaffold instance.")

        def given(name: str, value: Any) -> Any:
            if value is None and copy_from_scaffold is not None:
                return getattr(copy_from_scaffold, f"_{name}")
            return value

        self._init_op = given("init_op", init_op)
        self._init_feed_dict = given("init_feed_dict", init_feed_dict)
        self._user_init_fn = given("user_init_fn", init_fn)
        self._ready_op = given("ready_op", ready_op)
        self._ready_for_local_init_op = given("ready_for_local_init_op", ready_for_local_init_op)
        self._local_init_op = given("local_init_op", local_init_op)
        self._local_init_feed_dict = given("local_init_feed_dict", local_init_feed_dict)
        self._summary_op = given("summary_op", summary_op)
        self._saver = given("saver", saver)

    def finalize(self) -> Scaffold:
        """Make what is missing, and allow no more changes of the default graph."""
        if self._init_op is None:
            self._init_op = self.get_or_default("init_op", GraphKeys.INIT_OP, _default_init_op)
        if self._ready_op is None:
            self._ready_op = self.get_or_default("ready_op", GraphKeys.READY_OP, _default_ready_op)
        if self._ready_for_local_init_op is None:
            self._ready_for_local_init_op = self.get_or_default(
                "ready_for_local_init_op",
                GraphKeys.READY_FOR_LOCAL_INIT_OP,
                _default_ready_for_local_init_op,
            )
        if self._local_init_op is None:
            self._local_init_op = self.get_or_default(
                "local_init_op", GraphKeys.LOCAL_INIT_OP, self.default_local_init_op
            )
        if self._summary_op is None:
            self._summary_op = self.get_or_default(
                "summary_op", GraphKeys.SUMMARY_OP, all_summaries
            )
        if self._saver is None:
            self._saver = _default_saver()
        self._saver.build()
        get_default_graph().finalize()
        _log.info("the graph is complete")
        return self

    @staticmethod
    def get_or_default(
        arg_name: str, collection_key: str, default_constructor: Callable[[], Any]
    ) -> Any:
        """The one item of a collection; where it is empty, what the function makes is put there.

        Raises:
            NotExactlyOne: It has several.
        """
        elements = get_collection(collection_key)
        if len(elements) > 1:
            raise errors.NotExactlyOne(
                f"the collection {collection_key!r} has {len(elements)} items; say which one with "
                f"Scaffold({arg_name}=...)"
            )
        if elements:
            return elements[0]
        made = default_constructor()
        if made is not None:
            get_default_graph().add_to_collection(collection_key, made)
        return made

    @staticmethod
    def default_local_init_op() -> Operation:
        """What initializes local variables, tables and other things of one process."""
        return group(
            local_variables_initializer(),
            tables_initializer(),
            _initialized(get_collection(GraphKeys.LOCAL_RESOURCES)),
        )

    @property
    def init_fn(self) -> Callable[[Any], Any] | None:
        """What the program gave, as a function of the session alone."""
        function = self._user_init_fn
        return None if function is None else lambda session: function(self, session)

    @property
    def init_op(self) -> Any:
        return self._init_op

    @property
    def init_feed_dict(self) -> Mapping[Any, Any] | None:
        return self._init_feed_dict  # type: ignore[no-any-return]

    @property
    def ready_op(self) -> Any:
        return self._ready_op

    @property
    def ready_for_local_init_op(self) -> Any:
        return self._ready_for_local_init_op

    @property
    def local_init_op(self) -> Any:
        return self._local_init_op

    @property
    def local_init_feed_dict(self) -> Mapping[Any, Any] | None:
        return self._local_init_feed_dict  # type: ignore[no-any-return]

    @property
    def summary_op(self) -> Any:
        return self._summary_op

    @property
    def saver(self) -> Any:
        return self._saver


# --------------------------------------------------------------------------- what is made


def _default_init_op() -> Operation:
    return group(
        global_variables_initializer(),
        _initialized(get_collection(GraphKeys.RESOURCES)),
        get_collection("saved_model_initializers"),
    )


def _default_ready_op() -> Tensor:
    shared = get_collection(GraphKeys.RESOURCES)
    local = get_collection(GraphKeys.LOCAL_RESOURCES)
    return concat([report_uninitialized_variables(), _missing([*shared, *local])], 0)


def _default_ready_for_local_init_op() -> Tensor:
    variables = report_uninitialized_variables(global_variables())
    return concat([variables, _missing(get_collection(GraphKeys.RESOURCES))], 0)


def _initialized(resources: Sequence[Any]) -> Operation:
    """What sets up things that a program registered: each a handle, `create`, `is_initialized`."""
    if resources:
        return group(*(resource.create for resource in resources), name="init")
    return apply("NoOp", [], None, "init")


def _missing(resources: Sequence[Any]) -> Tensor:
    with get_default_graph().name_scope("report_uninitialized_resources"):
        return names_of_missing(
            [resource.handle.name for resource in resources],
            [resource.is_initialized for resource in resources],
        )


def all_summaries() -> Tensor | None:
    """All summaries of the graph in one; None if it has none."""
    summaries = get_collection(GraphKeys.SUMMARIES)
    if not summaries:
        return None
    with get_default_graph().name_scope("Merge"):
        return tensor("MergeSummary", [summaries])


def _default_saver() -> Any:
    savers = get_collection(GraphKeys.SAVERS)
    if len(savers) > 1:
        raise errors.NotExactlyOne(
            f"the collection {GraphKeys.SAVERS!r} has {len(savers)} items; say which one with "
            f"Scaffold(saver=...)"
        )
    if savers:
        return savers[0]
    saver = Saver(sharded=True, allow_empty=True)
    get_default_graph().add_to_collection(GraphKeys.SAVERS, saver)
    return saver
