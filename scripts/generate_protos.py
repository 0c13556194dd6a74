"""Generate `ckptmgr/_proto` from `protos/`, or check that it is what the sources give.

Run it with an interpreter that has grpcio-tools 1.62.3: its protoc 25 makes modules which load on
every protobuf runtime from 4.25 on, and it cannot be installed beside TensorFlow.

usage: generate_protos.py [--check]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib import metadata, resources
from pathlib import Path

from grpc_tools import protoc

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "ckptmgr/_proto"
TOOLS_VERSION = "1.62.3"
GENERATED_SUFFIXES = ("_pb2.py", "_pb2.pyi")


def generate(destination: Path) -> None:
    """Write the modules of every source under `destination`."""
    sources = sorted((REPOSITORY / "protos").rglob("*.proto"))
    well_known_types = resources.files("grpc_tools") / "_proto"
    status = protoc.main(
        [
            "protoc",
            f"-I{REPOSITORY / 'protos'}",
            f"-I{well_known_types}",
            f"--python_out={destination}",
            f"--pyi_out={destination}",
            *(str(source) for source in sources),
        ]
    )
    if status != 0:
        raise SystemExit(status)


def generated_files(root: Path) -> dict[str, bytes]:
    """Return what is generated under `root`: file name to content."""
    return {
        path.name: path.read_bytes()
        for path in (root / PACKAGE).iterdir()
        if path.name.endswith(GENERATED_SUFFIXES)
    }


def differences(wanted: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    """Name every file that is missing, stale or extra."""
    lines = [f"missing: {PACKAGE}/{name}" for name in sorted(wanted.keys() - found.keys())]
    lines += [f"extra: {PACKAGE}/{name}" for name in sorted(found.keys() - wanted.keys())]
    lines += [
        f"stale: {PACKAGE}/{name}"
        for name in sorted(wanted.keys() & found.keys())
        if wanted[name] != found[name]
    ]
    return lines


def main() -> int:
    """Do what the command line asks for, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    arguments = parser.parse_args()
    installed = metadata.version("grpcio-tools")
    if installed != TOOLS_VERSION:
        print(f"grpcio-tools {TOOLS_VERSION} is needed, found {installed}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        wanted = generated_files(Path(scratch))
    lines = differences(wanted, generated_files(REPOSITORY))
    if arguments.check:
        print("\n".join(lines) or f"{len(wanted)} generated files are up to date")
        return 1 if lines else 0
    for line in lines:
        status, _, name = line.partition(": ")
        path = REPOSITORY / name
        if status == "extra":
            path.unlink()
        else:
            path.write_bytes(wanted[path.name])
        print(f"{'removed' if status == 'extra' else 'wrote'} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
