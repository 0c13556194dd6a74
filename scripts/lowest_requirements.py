"""Print the lowest versions that pyproject.toml allows, one pin per line.

usage: lowest_requirements.py PYTHON_VERSION [EXTRA ...]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def read_project() -> dict[str, Any]:
    """Return the [project] table of pyproject.toml."""
    project: dict[str, Any] = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    return project


def lowest(requirements: list[str], python_version: str) -> list[str]:
    """Turn the lower bound of each requirement that holds for a Python version into a pin."""
    pins = []
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate(
            {"python_version": python_version}
        ):
            continue
        bounds = [bound.version for bound in requirement.specifier if bound.operator == ">="]
        if len(bounds) != 1:
            raise SystemExit(f"{requirement}: expected one lower bound, found {len(bounds)}")
        pins.append(f"{requirement.name}=={bounds[0]}")
    return pins


def main() -> None:
    """Print the pins that the command line asks for."""
    if not sys.argv[1:]:
        raise SystemExit(__doc__)
    python_version, *extras = sys.argv[1:]
    project = read_project()
    requirements = list(project["dependencies"])
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    print("\n".join(lowest(requirements, python_version)))


if __name__ == "__main__":
    main()
