"""Images in glimpses: where a network looks, and that it can be trained."""

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


def test_the_parts_of_all_quadrants_are_the_whole_image() -> None:
    x = torch.randn(2, 3, 28, 28)
    seen = network(channels=3).glimpses(x)[:, :, :147]
    fine = [step for step, place in enumerate(glimpses.ORDER) if 4 <= place < 20]
    assert len(fine) == 16
    torch.testing.assert_close(
        seen[:, fine].reshape(2, -1).sort().values, x.reshape(2, -1).sort().values
    )


@pytest.mark.parametrize("name", glimpses.names())
def test_every_network_gives_logits_and_gradients_also_for_no_image(name: str) -> None:
    model = glimpses.build(name, classes=10, channels=1, size=28, hidden=16)
    for count in (3, 0):
        logits = model(torch.randn(count, 1, 28, 28))
        assert logits.shape == (count, 10)
        model.zero_grad()
        logits.sum().backward()
        assert all(p.grad is not None for p in model.parameters())


@torch.no_grad()
def test_rounds_are_integrated_by_what_fast_weights_hold() -> None:
    torch.manual_seed(0)
    looks, hidden, decay, rate = 70, 6, 0.9, 0.5
    rounds = glimpses.Rounds(looks, hidden, inner_steps=2, decay=decay, rate=rate).double()
    for parameter in rounds.parameters():
        parameter.normal_()
    x_BTF = torch.randn(3, len(glimpses.ORDER), looks, dtype=torch.float64)

    def active(z_BH: torch.Tensor) -> torch.Tensor:
        return rounds.norm(z_BH).relu()

    A_BHH, h_BH, integrated = torch.zeros(3, hidden, hidden).double(), None, []
    for place, x_BF in zip(glimpses.ORDER, x_BTF.unbind(1), strict=True):
        if place != 20:
            z_BH = rounds.look(x_BF)
            h_BH = active(z_BH if h_BH is None else z_BH + rounds.recur(h_BH))
        else:
            z_BH = rounds.integrate(h_BH)
            h_BH = active(z_BH)
            for _ in range(2):
                h_BH = active(z_BH + (A_BHH @ h_BH[:, :, None])[:, :, 0])
            integrated.append(h_BH)
        A_BHH = decay * A_BHH + rate * h_BH[:, :, None] * h_BH[:, None]
        if place == 20:
            h_BH = None
    torch.testing.assert_close(rounds(x_BTF)[0], torch.stack(integrated, 1), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decay": 1.5}, r"decay = 1\.5; expected 0 to 1"),
        ({"rate": -1.0}, r"rate = -1\.0; expected 0 or more"),
        ({"inner_steps": 0}, "inner_steps = 0; expected 1 or more"),
        ({"normalise": False}, "'glimpses_fast_weights' does not have this field"),
    ],
)
def test_fast_weights_refuse_what_they_cannot_do(fields: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        glimpses.build("glimpses_fast_weights", classes=10, channels=1, size=28, **fields)


def test_a_convnet_has_units_and_no_other_field() -> None:
    shape = {"classes": 10, "channels": 1, "size": 28}
    small, large = (glimpses.build("convnet", **shape, hidden=hidden) for hidden in (50, 100))
    assert parameter_count(large) - parameter_count(small) == 50 * (32 * 49 + 1 + 10)
    with pytest.raises(UserError, match=r"rate = 0\.5; 'convnet' does not have this field"):
        glimpses.build("convnet", **shape, rate=0.5)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match="images of 32 pixels; expected 28"):
        network(size=32)
