"""Several listeners as one, none of which can break a save or silence the others.

An exception in a listener is logged and goes no further: a checkpoint is worth more than its figure
on a dashboard. A listener that fails in the same way again is logged once, for an event may come
every few megabytes. Whatever is no `Exception`, such as Ctrl-C, passes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ckptmgr.events import Event

Listener = Callable[[Event], None]

_log = logging.getLogger(__name__)


def all_of(*listeners: Listener) -> Listener:
    """A listener that gives each event to every one of `listeners`, in that order."""
    reported: set[tuple[int, type[Event], type[Exception]]] = set()

    def listen(event: Event) -> None:
        for position, listener in enumerate(listeners):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, the save goes on
                failure = (position, type(event), type(error))
                if failure not in reported:
                    reported.add(failure)
                    _log.exception(
                        "a listener failed at %s of %s; the same again will not be logged",
                        type(event).__name__,
                        event.prefix,
                    )

    return listen
