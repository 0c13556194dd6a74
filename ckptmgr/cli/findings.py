"""What is wrong, as `verify` and `repair` print it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ckptmgr.cli import wording
from ckptmgr.lifecycle.verification import Finding

# Of a shard that is gone every tensor is damaged; the first few say it all.
_MAX_SHOWN = 10


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "kind": finding.kind,
            "path": finding.path,
            "tensor": finding.tensor,
            "problem": finding.problem,
            "expected": finding.expected,
            "found": finding.found,
        }
        for finding in findings
    ]


def render(findings: Sequence[Finding]) -> Iterator[str]:
    """Under each file what is wrong with it."""
    path = None
    for finding in findings[:_MAX_SHOWN]:
        if finding.path != path:
            path = finding.path
            yield wording.printable(path)
        yield wording.printable(_sentence(finding))
    if len(findings) > _MAX_SHOWN:
        yield f"  and {len(findings) - _MAX_SHOWN:,} more; --json lists all"


def _sentence(finding: Finding) -> str:
    text = f"  {finding.problem}"
    if finding.tensor is not None:
        text = f"  tensor {finding.tensor!r}: {finding.problem}"
    if finding.expected is not None or finding.found is not None:
        text += f": expected {finding.expected}, found {finding.found}"
    return text
