"""Whatever fails wherever in an operation: nothing acknowledged is lost, and nothing is in the way.

`make durability` tries more of the same, and prints how much.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.durability.campaigns import CAMPAIGNS, Campaign, pairs
from tests.durability.scenarios import SCENARIOS, Scenario


@pytest.mark.parametrize(
    ("campaign", "scenario"),
    [
        pytest.param(campaign, scenario, id=f"{campaign.name}: {scenario.name}")
        for campaign, scenario in pairs(quick=True)
    ],
)
def test_the_promises_hold(
    campaign: Campaign, scenario: Scenario, record_property: Callable[[str, object], None]
) -> None:
    tally = campaign.quick(scenario)
    record_property("points of failure", tally.crash_points)
    record_property("distinct disks", tally.disk_states)
    assert tally.problems == []
    assert tally.crash_points > 1


def test_every_operation_is_killed_and_refused_everywhere() -> None:
    names = {(campaign.name, scenario.name) for campaign, scenario in pairs(quick=True)}
    wanted = {campaign.name for campaign in CAMPAIGNS[:3]}
    assert {(c, scenario.name) for c in wanted for scenario in SCENARIOS} <= names
