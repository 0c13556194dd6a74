"""The rule in conftest.py: a test that could run here is not skipped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        ("pass", 0, "skipped: 0 cannot run here, 0 without that reason"),
        ("pytest.skip('cannot run here: no drive')", 0, "skipped: 1 cannot run here, 0 without"),
        ("pytest.skip('too slow')", 1, "REFUSED SKIP test_sample.py::test_it: too slow"),
        ("pytest.xfail('known')", 0, "skipped: 0 cannot run here, 0 without that reason"),
        ("assert False", 1, "skipped: 0 cannot run here, 0 without that reason"),
    ],
)
@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_skip_in_a_test(
    tmp_path: Path, body: str, status: int, line: str, workers: tuple[str, ...]
) -> None:
    if workers:
        pytest.importorskip("xdist", reason="cannot run here: pytest-xdist is not installed")
    source = f"import pytest\ndef test_it():\n    {body}\ndef test_other(): pass\n"
    assert_session(tmp_path, source, workers, status, line)


@pytest.mark.parametrize(
    ("source", "status", "line"),
    [
        (
            "import pytest\npytest.importorskip('no_such_module')\n",
            1,
            "REFUSED SKIP test_sample.py: could not import 'no_such_module'",
        ),
        (
            "import pytest\npytest.importorskip('no_such_module', reason='cannot run here: x')\n",
            0,
            "skipped: 1 cannot run here, 0 without that reason",
        ),
        (
            "import pytest\n@pytest.mark.skipif(True, reason='not today')\ndef test_it(): pass\n",
            1,
            "REFUSED SKIP test_sample.py::test_it: not today",
        ),
    ],
    ids=["module", "module that cannot", "mark"],
)
def test_other_skips(tmp_path: Path, source: str, status: int, line: str) -> None:
    (tmp_path / "test_passes.py").write_text("def test_it(): pass\n")
    assert_session(tmp_path, source, (), status, line)


def assert_session(
    folder: Path, source: str, options: tuple[str, ...], status: int, line: str
) -> None:
    shutil.copy(Path(__file__).parent / "conftest.py", folder)
    (folder / "test_sample.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    session = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert session.returncode == status, session.stdout + session.stderr
    assert line in session.stdout
