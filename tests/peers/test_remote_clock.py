"""Rank 0's clock is read from its answers, however slow some are and however the clocks drift."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firetree.peers.clock import DRIFT, RemoteClock

delays = st.floats(1e-5, 0.2)


@given(
    st.floats(-1e6, 1e6),
    st.floats(-DRIFT, DRIFT),
    st.lists(st.tuples(st.floats(0.1, 600), delays, delays), min_size=1, max_size=50),
)
def test_the_offset_is_as_sure_as_it_says(
    ahead_s: float, drift: float, rounds: list[tuple[float, float, float]]
) -> None:
    clock, now_s = RemoteClock(), 0.0

    def there_s(at_s: float) -> float:
        return at_s + ahead_s + drift * at_s

    for pause_s, there_delay_s, back_delay_s in rounds:
        asked_s = now_s = now_s + pause_s
        read_s = asked_s + there_delay_s
        now_s = read_s + back_delay_s
        clock.hear(asked_s, now_s, there_s(read_s))
        error_s = clock.offset_s - (there_s(now_s) - now_s)
        assert abs(error_s) <= clock.unsure_s(now_s) + DRIFT * 0.4 + 1e-9


def test_a_quick_answer_outweighs_slow_ones_until_drift_may_have_spoiled_it() -> None:
    clock = RemoteClock()
    clock.hear(0.0, 0.001, 10.0005)
    clock.hear(1.0, 1.1, 99.0)
    assert clock.offset_s == 10.0
    clock.hear(4000.0, 4000.1, 4010.15)
    assert abs(clock.offset_s - 10.1) < 1e-9
