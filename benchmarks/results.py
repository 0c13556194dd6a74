"""All that was measured, sample by sample, and how samples are summed up."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmarks.contestants import CONTESTANTS


class NotMeasured(Exception):
    """There is no sample of something; says why."""


class Spread(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float
    samples: int


class Key(NamedTuple):
    #: A workload, or another section of the benchmark.
    section: str
    #: A contestant, or whatever else is compared in the section.
    subject: str
    #: What was measured, in seconds unless the name says otherwise.
    measure: str


@dataclass(slots=True)
class Results:
    scale: float
    rounds: int
    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    samples: dict[Key, list[float]] = field(default_factory=dict)
    #: Why a contestant, or a section, is not in the samples.
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, section: str, subject: str, **measured: float | Iterable[float] | None) -> None:
        """Add a sample, or several, of each measure; None is no sample."""
        for measure, value in measured.items():
            if value is not None:
                values = [value] if isinstance(value, (int, float)) else list(value)
                self.samples.setdefault(Key(section, subject, measure), []).extend(values)

    def values(self, section: str, subject: str, measure: str) -> list[float]:
        """The samples of one measure.

        Raises:
            NotMeasured: There are none.
        """
        found = self.samples.get(Key(section, subject, measure))
        if found:
            return found
        reasons = [self.failures[name] for name in (subject, section) if name in self.failures]
        contestant = CONTESTANTS.get(subject)
        words = contestant.words if contestant else subject
        raise NotMeasured(reasons[0] if reasons else f"no sample of {words}: {section} {measure}")

    def spread(self, section: str, subject: str, measure: str) -> Spread:
        return spread(self.values(section, subject, measure))

    def median(self, section: str, subject: str, measure: str) -> float:
        return statistics.median(self.values(section, subject, measure))

    def percentile(self, section: str, subject: str, measure: str, percent: int) -> float:
        return percentile(self.values(section, subject, measure), percent)

    def subjects(self, section: str, measure: str) -> list[str]:
        """Who has samples of a measure, in the order of their first."""
        return [
            key.subject for key in self.samples if key.section == section and key.measure == measure
        ]

    def to_json(self) -> str:
        return json.dumps(
            {
                "scale": self.scale,
                "rounds": self.rounds,
                "machine": self.machine,
                "versions": self.versions,
                "failures": self.failures,
                "samples": [
                    {**key._asdict(), "values": [_rounded(value) for value in values]}
                    for key, values in self.samples.items()
                ],
            },
            indent=1,
        )


def from_json(text: str) -> Results:
    """The inverse of `Results.to_json`."""
    stored: Mapping[str, Any] = json.loads(text)
    samples = {
        Key(sample["section"], sample["subject"], sample["measure"]): sample["values"]
        for sample in stored["samples"]
    }
    return Results(
        stored["scale"],
        stored["rounds"],
        stored["machine"],
        stored["versions"],
        samples,
        stored["failures"],
    )


def spread(values: list[float]) -> Spread:
    return Spread(
        statistics.median(values), percentile(values, 25), percentile(values, 75), len(values)
    )


def percentile(values: list[float], percent: int) -> float:
    """By linear interpolation between the two nearest samples."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def _rounded(value: float) -> float:
    # Six digits are far below the spread, and keep the file small.
    return float(f"{value:.6g}")
