"""What compressions leave to send, against what they do send."""

import pytest

from firetree.models.profile import Gradient, Profile
from firetree.planning.compressions import parse_compression
from firetree.planning.step import local_step

GRADIENTS = (
    Gradient("convolution", 4 * 64 * 16 * 9, 0.5, (64, 16, 3, 3)),
    Gradient("bias", 4 * 64, 0.5, (64,)),
)
STEP = Profile(1.0, 2.0, GRADIENTS)


@pytest.mark.parametrize(
    ("compression", "sizes"),
    [
        ("fp16", [18432, 128]),
        ("bf16", [18432, 128]),
        ("int8", [9216 + 36, 64]),
        ("e3m0", [2 * (4608 + 36), 64]),  # gathered from 4 ranks
        ("topk:0.01", [935, 6]),  # 1 % of the numbers and where they are, gathered from 4 ranks
        ("powersgd:4", [4 * 4 * (64 + 144), 256]),
        ("powersgd:32", [36864, 256]),  # the factors would be as large as the matrix
        ("sparseloco:0.01", [261, 4]),  # 41 of 4,096 numbers in 58 bytes
        ("turns:25", [202, 4]),  # 164 of 4,096 numbers in 45 bytes, gathered from 4 ranks
        ("demo:32", [2 * 3 * (34 + 64), 2 * (12 + 64)]),  # three chunks of 64 × 48, one of 1 × 64
        ("demo:3000", [2 * 3 * (759 + 6000), 2 * (16 + 128)]),
        ("demo:4000", [2 * 3 * (768 + 6144), 288]),  # a chunk has no more components than numbers
    ],
)
def test_a_compression_leaves_so_many_bytes(compression: str, sizes: list[int]) -> None:
    left = parse_compression(compression).compressed(STEP, world_size=4)
    assert [gradient.size_bytes for gradient in left.gradients] == sizes
    assert [gradient.ready_s for gradient in left.gradients] == [0.5, 0.5]
    assert left.compute_s == STEP.compute_s


def test_local_steps_share_the_time_of_one_sum_of_all_parameters() -> None:
    asked = []

    def all_reduce_s(size_bytes: int) -> float:
        asked.append(size_bytes)
        return 8.0

    step = local_step(STEP, 16, all_reduce_s)
    assert (step.step_s, step.exposed_s) == (3.5, 0.5)
    assert asked == [STEP.size_bytes]


def test_fragments_share_it_and_hide_behind_steps() -> None:
    asked = []

    def all_reduce_s(size_bytes: int) -> float:
        asked.append(size_bytes)
        return 8.0

    step = local_step(STEP, 16, all_reduce_s, fragments=4, overlap_steps=2)
    assert (step.step_s, step.exposed_s) == (3.5, 0.5)
    assert asked == [STEP.size_bytes / 4]
    assert local_step(STEP, 16, all_reduce_s, fragments=4, overlap_steps=3).exposed_s == 0.0
