"""Networks that see a picture in glimpses, one after the other, and have to put them together.

Beside them is a network of convolutions, which sees the whole picture at once.

Letters in names: B batch, C channels, G places to look at, T steps, H hidden.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, unfold

from firetree.errors import UserError
from firetree.models import recurrent

SIZE, GLIMPSE = 28, 7
"""Pixels a side of a picture and of a glimpse."""

_COARSE = tuple(range(4))
"""Quadrants at half their detail; the fine places, four a quadrant, come after them."""
_FINE = {0: (4, 5, 8, 9), 1: (6, 7, 10, 11), 2: (12, 13, 16, 17), 3: (14, 15, 18, 19)}
_NOWHERE = 20

ORDER = (
    *(*_COARSE, _NOWHERE),
    *(place for q in _COARSE for place in (q, *_FINE[q], _NOWHERE)),
)
"""24 glimpses from coarse to fine: the quadrants, then each again with its four parts. A step that
looks nowhere follows each round, to integrate it (after Ba et al. 2016, section 4.2)."""

_PREFIX = "glimpses_"
_WHOLE = "convnet"


def names() -> tuple[str, ...]:
    """The names of all networks here: `glimpses_` and a recurrent layer's, or `convnet`."""
    return (_WHOLE, *(_PREFIX + layer for layer in recurrent.names()))


class GlimpseNetwork(nn.Module):
    """Pictures (B, C, 28, 28) to logits (B, K), by a recurrent layer that sees glimpses."""

    order_T: Tensor

    def __init__(self, layer: nn.Module, hidden: int, classes: int):
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(hidden, classes)
        self.register_buffer("order_T", torch.tensor(ORDER))

    @recurrent.also_of_none
    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BTH, _ = self.layer(self.glimpses(x_BCHW))
        logits: Tensor = self.head(y_BTH[:, -1])
        return logits

    def glimpses(self, x_BCHW: Tensor) -> Tensor:
        """What each step sees, (B, T, 49·C + 21): pixels, and where they are."""
        coarse, fine = (
            unfold(seen, GLIMPSE, stride=GLIMPSE).transpose(1, 2)
            for seen in (avg_pool2d(x_BCHW, 2), x_BCHW)
        )
        nothing = torch.zeros_like(coarse[:, :1])
        places_BGF = torch.cat([coarse, fine, nothing], 1)
        where_TG = torch.eye(places_BGF.shape[1], device=x_BCHW.device)[self.order_T]
        where_BTG = where_TG.expand(len(x_BCHW), -1, -1)
        return torch.cat([places_BGF[:, self.order_T], where_BTG], 2)


def build(
    name: str, *, classes: int, channels: int, size: int, hidden: int = 100, **fields: Any
) -> nn.Module:
    """The network of this name; `fields` are its layer's, None keeps the layer's own.

    Raises:
        UserError: pictures of another size, or a field that the network does not have.
    """
    if size != SIZE:
        raise UserError(f"pictures of {size} pixels; expected {SIZE} for {name}; give data.size")
    if name == _WHOLE:
        recurrent.given(name, fields, own=())
        return _convnet(classes, channels, hidden)
    features = channels * GLIMPSE**2 + _NOWHERE + 1
    layer = recurrent.build_layer(name.removeprefix(_PREFIX), features, hidden, **fields)
    return GlimpseNetwork(layer, hidden, classes)


def _convnet(classes: int, channels: int, hidden: int) -> nn.Sequential:
    """Two convolutions and a layer of `hidden` units.

    Ba et al. 2016 compare with a ConvNet of so many units (table 2); its convolutions are ours.
    """
    return nn.Sequential(
        *(nn.Conv2d(channels, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * (SIZE // 4) ** 2, hidden), nn.ReLU()),
        nn.Linear(hidden, classes),
    )
