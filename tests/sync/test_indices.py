"""The code of indices gives them back, and is as long as planned."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from firetree.planning.compressions import index_bits
from firetree.sync.indices import decode_indices, encode_indices, from_bytes, to_bytes


@given(st.integers(1, 5000), st.floats(0, 1), st.integers(1, 4), st.integers(0, 99))
def test_indices_come_back_from_as_many_bits_as_planned(
    numbers: int, share: float, chunks: int, seed: int
) -> None:
    chosen = max(1, round(share * numbers))
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(numbers, generator=generator)[:chosen] for _ in range(chunks)]
    at_CK = torch.stack(drawn).sort(1).values
    bits = encode_indices(at_CK, numbers)
    assert bits.shape == (chunks, index_bits(numbers, chosen))
    sent = to_bytes(bits)
    assert sent.shape == (chunks, -(-bits.shape[1] // 8))
    assert torch.equal(decode_indices(from_bytes(sent), numbers, chosen), at_CK)


def test_an_index_takes_two_bits_more_than_its_share_at_most() -> None:
    assert index_bits(4096, 82) == 82 * (5 + 1) + 127
    assert index_bits(4096, 4096) == 2 * 4096 - 1
    assert index_bits(1, 1) == 1
