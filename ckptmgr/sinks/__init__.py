"""Where the events of a manager can go: a log, a progress bar, figures, traces.

One module per destination. Each has one function that returns a listener, for
`CheckpointManager(on_event=...)`; one listener may serve several managers. What a listener needs
besides this package is imported when it is made. No listener made here breaks a save: what goes
wrong in one is logged.
"""

from __future__ import annotations

from ckptmgr.sinks import logging, opentelemetry, progress, prometheus, tensorboard
from ckptmgr.sinks.combination import all_of

__all__ = ["all_of", "logging", "opentelemetry", "progress", "prometheus", "tensorboard"]
