"""The two seeds of a random operation, from the graph's and its own.

Source: tensorflow/python/framework/random_seed.py (get_seed).
"""

from __future__ import annotations

import weakref

from ckptmgr.graph.graph import Graph

# tensorflow/python/framework/random_seed.py (DEFAULT_GRAPH_SEED, _MAXINT32).
_DEFAULT_GRAPH_SEED = 87654321
_SEED_LIMIT = 2**31 - 1

#: How many operations of a graph have their own seed from counting.
_counted: weakref.WeakKeyDictionary[Graph, int] = weakref.WeakKeyDictionary()


def get_seed(graph: Graph, op_seed: int | None) -> tuple[int | None, int | None]:
    """The seeds of a new operation; None for both where it is to draw others in each session."""
    if graph.seed is None:
        if op_seed is None:
            return None, None
        return _DEFAULT_GRAPH_SEED, op_seed % _SEED_LIMIT
    if op_seed is None:
        op_seed = _counted.get(graph, 0)
        _counted[graph] = op_seed + 1
    seeds = graph.seed % _SEED_LIMIT, op_seed % _SEED_LIMIT
    # Two zeros would mean that no seed was set.
    return (0, _SEED_LIMIT) if seeds == (0, 0) else seeds
