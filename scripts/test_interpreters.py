"""Run the tests that need no TensorFlow on every supported Python that this machine has.

Each interpreter gets its own environment, `.venv-3.X`, with the newest dependencies; the oldest
one gets a second, `.venv-lowest`, with the lowest that pyproject.toml allows. An interpreter that
is not here is named.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from lowest_requirements import PYPROJECT, lowest, read_project

CLASSIFIER = "Programming Language :: Python :: 3."
REPOSITORY = PYPROJECT.parent


def supported_versions(project: dict[str, Any]) -> list[str]:
    """Return the Python versions among the classifiers, oldest first."""
    minors = [line.removeprefix(CLASSIFIER) for line in project["classifiers"]]
    return [f"3.{minor}" for minor in sorted(int(minor) for minor in minors if minor.isdigit())]


def runs(version: str) -> bool:
    """Whether the interpreter works: a version manager's stand-in may exist and only complain."""
    source = f"import ensurepip, sys; assert '%d.%d' % sys.version_info[:2] == '{version}'"
    try:
        done = subprocess.run([f"python{version}", "-c", source], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def passes(version: str, environment: str, pins: list[str]) -> bool:
    """Make an environment and run the tests in it."""
    python = f"{environment}/bin/python"
    commands = [
        [f"python{version}", "-m", "venv", environment],
        [python, "-m", "pip", "install", "--quiet", "--editable", ".[test-core]", *pins],
        [python, "-m", "pytest", "-n", "2", "-m", "not tensorflow"],
    ]
    print(f"== {environment}: {' '.join(pins) or 'newest dependencies'}", flush=True)
    return all(
        subprocess.run(command, cwd=REPOSITORY, check=False).returncode == 0 for command in commands
    )


def main() -> int:
    """Test on every interpreter, say what happened on each, and return the exit status."""
    project = read_project()
    versions = supported_versions(project)
    oldest = versions[0]
    extras = project["optional-dependencies"]
    pins = lowest([*project["dependencies"], *extras["snappy"]], oldest)
    plan = [(version, f".venv-{version}", list[str]()) for version in versions]
    plan.append((oldest, ".venv-lowest", pins))

    outcomes = {}
    for version, environment, pinned in plan:
        if runs(version):
            outcomes[environment] = "passed" if passes(version, environment, pinned) else "FAILED"
        else:
            outcomes[environment] = (
                f"NOT RUN: python{version} is not on this machine, or cannot make a venv"
            )
    for environment, outcome in outcomes.items():
        print(f"{environment:<13} {outcome}")
    return 0 if "passed" in outcomes.values() and "FAILED" not in outcomes.values() else 1


if __name__ == "__main__":
    sys.exit(main())
