"""Try every failure on every operation, and print how much that was: `make durability`."""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.durability.campaigns import CAMPAIGNS, pairs
from tests.durability.enumeration import Tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.durability", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only what make test tries")
    parser.add_argument("--only", default="", help="operations whose name contains this")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # what is survived is reported, thousands of times
    totals = {campaign.name: Tally() for campaign in CAMPAIGNS}
    print(f"{'':40} {'operation':34} {'points':>8} {'disks':>8} {'sampled':>8} {'secs':>6}")
    for campaign, scenario in pairs(quick=arguments.quick):
        if arguments.only not in scenario.name:
            continue
        began_secs = time.perf_counter()
        tally = (campaign.quick if arguments.quick else campaign.full)(scenario)
        secs = time.perf_counter() - began_secs
        print(f"{_row(campaign.name, scenario.name, tally)} {secs:6.1f}", flush=True)
        for problem in tally.problems[:10]:
            print(f"    {problem}")
        totals[campaign.name] += tally
    print()
    for name, tally in totals.items():
        print(_row(name, "all", tally))
    everything = Tally()
    for tally in totals.values():
        everything += tally
    print(_row("all", "all", everything))
    print(f"{len(everything.problems)} broken promises")
    return bool(everything.problems)


def _row(campaign: str, operation: str, tally: Tally) -> str:
    counts = f"{tally.crash_points:8} {tally.disk_states:8} {tally.sampled_cuts:8}"
    return f"{campaign:40} {operation:34} {counts}"


if __name__ == "__main__":
    sys.exit(main())
