from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import pytest

import ckptmgr.graph.kernels.assertions  # noqa: F401
from ckptmgr import errors
from tests.graph.kernels.oracle import compute

NUMBERS = np.array([1.5, 2.0, 1e10, 3.0], np.float32)


def test_a_condition_that_holds_is_silent() -> None:
    assert compute("Assert", [np.array(True)], summarize=3) == ()


def test_a_condition_that_does_not_hold_tells_what_there_was() -> None:
    data = [np.array(b"wrong:", object), NUMBERS, np.array([True, False])]
    with pytest.raises(
        errors.InvalidArgument, match=r"assertion failed: \[wrong:\] \[1.5 2 1e\+10...\] \[1 0\]"
    ):
        compute("Assert", [np.array(False), *data], summarize=3)


def test_printing_hands_its_input_on(capsys: Any) -> None:
    attrs = {"message": b"numbers: ", "summarize": -1}
    assert compute("Print", [NUMBERS, NUMBERS, np.array(7)], **attrs) is NUMBERS
    assert capsys.readouterr().err == "numbers: [1.5 2 1e+10 3][7]\n"


def test_printing_to_streams_and_to_the_log(capsys: Any, caplog: Any) -> None:
    text = np.array(b"text", object)
    for target in (b"stdout", b"stderr"):
        compute("PrintV2", [text], output_stream=target, end=b".")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("text.", "text.")
    with caplog.at_level(logging.INFO, "ckptmgr.graph"):
        compute("PrintV2", [text], output_stream=b"log(info)", end=b"\n")
    assert caplog.messages == ["text"]


def test_time_goes_on() -> None:
    before = time.time()
    assert before <= compute("Timestamp", []) <= time.time()
