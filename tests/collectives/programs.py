"""Schedules of all kinds, drawn for the tests of what is made of them."""

from __future__ import annotations

import dataclasses

from hypothesis import settings
from hypothesis import strategies as st

from firetree import collectives
from firetree.collectives import Schedule

ALGORITHMS = (*collectives.names(), "kary_tree:2", "sharded_parameter_server:2", "hierarchical:4")
quick = settings(max_examples=100, deadline=None)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Schedules of all algorithms as they are, and with one port where they had many."""
    algorithm = draw(st.sampled_from(ALGORITHMS))
    built = collectives.build(algorithm, draw(st.integers(2, 9)), draw(st.integers(1, 9)))
    return dataclasses.replace(built, one_port=built.one_port or draw(st.booleans()))
