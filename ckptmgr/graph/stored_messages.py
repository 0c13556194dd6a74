"""Values of collections that are kept as their messages: queue runners, contexts of branches.

Nothing here needs more of them than that their names follow the graph.

Source: tensorflow/core/protobuf/control_flow.proto, queue_runner.proto.
"""

from __future__ import annotations

from typing import Any

from ckptmgr.graph.scoped_names import into_scope, out_of_scope


class StoredMessage:
    """A value of a collection that is kept as its message: queue runners, contexts of loops."""

    def __init__(self, proto: Any, import_scope: str | None) -> None:
        self._proto = proto
        self._import_scope = import_scope

    @classmethod
    def from_proto(cls, proto: Any, import_scope: str | None = None) -> StoredMessage:
        return cls(proto, import_scope)

    def to_proto(self, export_scope: str | None = None) -> Any:
        """The message, its names where they are now."""
        moved = type(self._proto)()
        moved.CopyFrom(self._proto)
        _rename(moved, self._import_scope, export_scope)
        return moved


def _rename(proto: Any, import_scope: str | None, export_scope: str | None) -> None:
    """Move the names that a message holds, and those within it, which are in loops in loops."""

    def moved(name: str) -> str:
        return out_of_scope(into_scope(name, import_scope), export_scope)

    pending = [proto]
    while pending:
        current = pending.pop()
        for field, value in current.ListFields():
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                for key in list(value):
                    renamed = moved(value[key])
                    del value[key]
                    value[moved(key)] = renamed
            elif field.type == field.TYPE_MESSAGE:
                pending.extend([value] if not hasattr(value, "__len__") else value)
            elif field.type == field.TYPE_STRING:
                if isinstance(value, str):
                    setattr(current, field.name, moved(value))
                else:
                    value[:] = [moved(name) for name in value]
