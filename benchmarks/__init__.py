"""Comparing ckptmgr with other ways to save tensors, and with what the machine can do at all.

`python -m benchmarks` (`make bench`) measures and writes docs/benchmarks.md. Its parts:

    workloads     the tensors, the same for everybody
    savers/       one thin file per library, all with the same verbs; `limits` has the raw ones
    worker        a process for each contestant, which `fleet` tells what to do over a pipe
    sections/     what is measured: each goes round the contestants, one measurement at a time
    results       all samples, with their spread, as JSON
    targets       what we mean to reach, and whether we do
    report, plot  docs/benchmarks.md and docs/benchmarks.svg
"""
