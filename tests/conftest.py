"""Fixtures for every test, and the rule that nothing is skipped that could run here."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import ml_dtypes
import numpy as np
import pytest

# Set before TensorFlow is imported, here and in the processes that tests start: it is silent,
# gives the same numbers on every machine, and leaves accelerators alone.
os.environ.update(
    {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": ""}
)

# No deadline: one slow example on a busy machine says nothing about the code.
hypothesis.settings.register_profile("ckptmgr", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ckptmgr")

Expected = dict[str, "np.ndarray[Any, Any]"]


@pytest.fixture(scope="session")
def tf() -> Any:
    """The real TensorFlow; whoever uses it gets the marker `tensorflow`."""
    import tensorflow as tf

    return tf


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of files that real TensorFlow wrote (see golden/make.py)."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def load_expected(golden: Path) -> Callable[[str | Path], Expected]:
    """What the tensors in a folder of golden files hold: name to array.

    Where a folder has several checkpoints, a name is `<prefix>:<tensor name>`.
    """

    def load(directory: str | Path) -> Expected:
        with np.load(golden / directory / "expected.npz") as stored:
            return _decode_expected(stored)

    return load


def _decode_expected(stored: Mapping[str, np.ndarray[Any, Any]]) -> Expected:
    """Undo golden/make.py's encoding of what NumPy cannot store."""
    expected = {}
    for key in stored:
        name, _, suffix = key.partition("::")
        if suffix == "raw":
            dtype = np.dtype(getattr(ml_dtypes, str(stored[f"{name}::dtype"])))
            expected[name] = np.ascontiguousarray(stored[key]).view(dtype)[..., 0]
        elif suffix == "lengths":
            expected[name] = _split(stored[key], stored[f"{name}::bytes"].tobytes())
        elif suffix not in ("dtype", "bytes"):
            expected[key] = stored[key]
    return expected


def _split(lengths: np.ndarray[Any, Any], data: bytes) -> np.ndarray[Any, Any]:
    strings = np.empty(lengths.shape, object)
    end = 0
    for index in np.ndindex(lengths.shape):
        start, end = end, end + int(lengths[index])
        strings[index] = data[start:end]
    return strings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tf" in getattr(item, "fixturenames", ()):
            item.add_marker("tensorflow")


# --------------------------------------------------------------------------- skipped tests

CANNOT_RUN_HERE = "cannot run here: "


class SkipPolicy:
    """Fails a session in which a test was skipped without a reason that it cannot run here."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        # An expected failure did run; strict xfail fails when it unexpectedly passes.
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "no reason"
            self.reasons[report.nodeid] = reason.removeprefix("Skipped: ")

    @property
    def refused(self) -> dict[str, str]:
        return {
            test: reason
            for test, reason in self.reasons.items()
            if not reason.startswith(CANNOT_RUN_HERE)
        }

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        if self.refused and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        yield

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        allowed = len(self.reasons) - len(self.refused)
        terminalreporter.write_line(
            f"skipped: {allowed} cannot run here, {len(self.refused)} without that reason"
        )
        for test, reason in sorted(self.refused.items()):
            terminalreporter.write_line(f"REFUSED SKIP {test}: {reason}", red=True)


class Counts:
    """Adds up what tests counted with `record_property`, and tells it at the end."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            for name, value in report.user_properties:
                if isinstance(value, int):
                    self.totals[name] = self.totals.get(name, 0) + value

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name, total in self.totals.items():
            terminalreporter.write_line(f"{name}: {total}")


def pytest_configure(config: pytest.Config) -> None:
    # A shell has what it starts in the background ignore Ctrl-C, and programs hand that on: those
    # that a test interrupts would never end.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # With xdist the workers' reports reach the controller: it alone judges.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipPolicy(), "skip-policy")
        config.pluginmanager.register(Counts(), "counts")
