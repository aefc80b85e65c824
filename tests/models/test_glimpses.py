"""Pictures in glimpses: where a network looks, and that it can be trained."""

from __future__ import annotations

import pytest
import torch

from firetree.errors import UserError
from firetree.models import glimpses, parameter_count


def network(size: int = 28, channels: int = 1) -> glimpses.GlimpseNetwork:
    built = glimpses.build("glimpses_fast_weights", classes=10, channels=channels, size=size)
    assert isinstance(built, glimpses.GlimpseNetwork)
    return built


def test_the_24_glimpses_go_from_quadrants_to_their_parts() -> None:
    x = torch.arange(784.0).view(1, 1, 28, 28)
    seen = network().glimpses(x)[0, :, :49].view(-1, 7, 7)
    looks = [place for place in glimpses.ORDER if place != 20]
    assert len(looks) == 24
    assert len(seen) == 24 + 5
    torch.testing.assert_close(seen[0, 0, 0], x[0, 0, :2, :2].mean())
    corners = {(0, 0): 6, (0, 7): 7, (7, 0): 8, (7, 7): 9}
    for (row, column), step in corners.items():
        torch.testing.assert_close(seen[step], x[0, 0, row : row + 7, column : column + 7])
    assert (seen[[4, 10, 16, 22, 28]] == 0).all()


def test_the_parts_of_all_quadrants_are_the_whole_picture() -> None:
    x = torch.randn(2, 3, 28, 28)
    seen = network(channels=3).glimpses(x)[:, :, :147]
    fine = [step for step, place in enumerate(glimpses.ORDER) if 4 <= place < 20]
    assert len(fine) == 16
    torch.testing.assert_close(
        seen[:, fine].reshape(2, -1).sort().values, x.reshape(2, -1).sort().values
    )


@pytest.mark.parametrize("name", glimpses.names())
def test_every_network_gives_logits_and_gradients_also_for_no_picture(name: str) -> None:
    model = glimpses.build(name, classes=10, channels=1, size=28, hidden=16)
    for count in (3, 0):
        logits = model(torch.randn(count, 1, 28, 28))
        assert logits.shape == (count, 10)
        model.zero_grad()
        logits.sum().backward()
        assert all(p.grad is not None for p in model.parameters())


def test_a_convnet_has_units_and_no_other_field() -> None:
    shape = {"classes": 10, "channels": 1, "size": 28}
    small, large = (glimpses.build("convnet", **shape, hidden=hidden) for hidden in (50, 100))
    assert parameter_count(large) - parameter_count(small) == 50 * (32 * 49 + 1 + 10)
    with pytest.raises(UserError, match=r"rate = 0\.5; 'convnet' does not have this field"):
        glimpses.build("convnet", **shape, rate=0.5)


def test_pictures_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match="pictures of 32 pixels; expected 28"):
        network(size=32)
