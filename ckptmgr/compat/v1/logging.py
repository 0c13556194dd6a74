"""`tf.logging`: a logger of Python's, with TensorFlow's names for what it can do.

Source: tensorflow/python/platform/tf_logging.py.
"""

from __future__ import annotations

import logging as _logging
from typing import Any

DEBUG, INFO, WARN = _logging.DEBUG, _logging.INFO, _logging.WARNING
ERROR, FATAL = _logging.ERROR, _logging.CRITICAL

# TensorFlow's own logger has this name, so that programs that set it up need no change.
_logger = _logging.getLogger("tensorflow")

debug, info, warning, error = _logger.debug, _logger.info, _logger.warning, _logger.error
warn, fatal, log = _logger.warning, _logger.critical, _logger.log


def get_logger() -> _logging.Logger:
    return _logger


def get_verbosity() -> int:
    return _logger.getEffectiveLevel()


def set_verbosity(v: int) -> None:
    """Log what is at least this grave; to standard error where the program says nothing else."""
    if not _logger.hasHandlers():
        # Python itself would show warnings and errors only.
        handler = _logging.StreamHandler()
        handler.setFormatter(_logging.Formatter(_logging.BASIC_FORMAT))
        _logger.addHandler(handler)
    _logger.setLevel(v)


def vlog(level: int, msg: str, *args: Any) -> None:
    _logger.log(level, msg, *args)
