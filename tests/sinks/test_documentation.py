"""docs/events.md is complete, and what it shows runs."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from ckptmgr import events
from ckptmgr.sinks.prometheus import export_events

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
SNIPPETS = {
    snippet: PAGE[: PAGE.index(snippet)].rpartition("\n#")[2].partition("\n")[0].strip("# ")
    for snippet in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
}


def test_every_event_and_field_is_there() -> None:
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type)]
    documented = dict(re.findall(r"^\| `(\w+)` \| (`.*?`) \|", PAGE, re.MULTILINE))

    assert documented == {
        kind.__name__: ", ".join(f"`{field.name}`" for field in dataclasses.fields(kind))
        for kind in kinds
        if kind is not events.Event
    }


def test_every_figure_of_prometheus_is_there() -> None:
    registry = CollectorRegistry()
    export_events(registry)
    names = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for metric in registry.collect()
    }

    assert set(re.findall(r"`(ckptmgr_\w+)`", PAGE)) == names


@pytest.mark.parametrize("snippet", SNIPPETS, ids=SNIPPETS.get)
def test_snippet(tmp_path: Path, snippet: str) -> None:
    if "tensorboard" in snippet:
        pytest.importorskip("tensorboard", reason="cannot run here: tensorboard is not installed")

    done = subprocess.run(
        [sys.executable, "-c", snippet], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "run").glob("model.ckpt-*.index"))
