"""What docs/frameworks.md shows can be run, and run again from its own checkpoint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"


def code(section: str) -> str:
    """The code of one section, its blocks joined."""
    text = PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert blocks
    return "\n".join(blocks)


def run(section: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(code(section), str(PAGE), "exec"), names)  # noqa: S102 - our own page
    return names


def test_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="cannot run here: PyTorch is not installed")
    monkeypatch.chdir(tmp_path)
    first = run("PyTorch")
    first["manager"].close()
    assert ckptmgr.latest_checkpoint("run") == "run/model.ckpt-20"
    second = run("PyTorch")
    second["optimizer"].step()  # waits for a save, of which there is none
    second["manager"].close()
    assert second["state"]["step"] == 20
    assert second["scheduler"].last_epoch == 20
    assert torch.equal(second["model"][1].running_mean, first["model"][1].running_mean)


def test_jax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax", reason="cannot run here: JAX is not installed")
    monkeypatch.chdir(tmp_path)
    first, second = run("JAX")["state"], run("JAX")["state"]
    assert ckptmgr.latest_checkpoint("run") == "run/model.ckpt-5"
    assert second["params"]["w"].any()
    assert second["params"]["w"].tolist() == first["params"]["w"].tolist()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tf: Any) -> None:
    assert tf.keras  # its backend
    monkeypatch.chdir(tmp_path)
    first = run("Keras 3")["model"]
    assert int(first.optimizer.iterations) == 1
    monkeypatch.setattr(tf.keras.Model, "fit", lambda *_, **__: None)  # what was restored stays
    second = run("Keras 3")["model"]
    assert int(second.optimizer.iterations) == 1
    for own, restored in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(own, restored)
