"""Networks that read an image as a sequence of glimpses, and a convolutional one that sees it whole.

Letters in names: B batch, C channels, G places to look at, T steps, H hidden, F features of a step,
R rounds, K glimpses of a round, P states that are held.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, unfold

from firetree.errors import UserError
from firetree.fastweights.norms import in_reach
from firetree.fastweights.rnn import INITIAL_W
from firetree.fastweights.sequences import check_inner_steps, check_rate, check_share
from firetree.models import recurrent
from firetree.models.families import given

SIZE, GLIMPSE = 28, 7
"""Pixels a side of an image and of a glimpse."""

_COARSE = tuple(range(4))
"""Places 0 to 3 are the quadrants at half their detail; four fine places a quadrant follow."""
_FINE = {0: (4, 5, 8, 9), 1: (6, 7, 10, 11), 2: (12, 13, 16, 17), 3: (14, 15, 18, 19)}
_NOWHERE = 20

ORDER = (
    *(*_COARSE, _NOWHERE),
    *(place for q in _COARSE for place in (q, *_FINE[q], _NOWHERE)),
)
"""24 glimpses from coarse to fine: the quadrants, then each quadrant again with its four parts. Each round
ends with a step that looks nowhere and integrates it (after Ba et al. 2016, section 4.2)."""

_PREFIX = "glimpses_"
_WHOLE = "convnet"
_FAST_WEIGHTS = _PREFIX + "fast_weights"


def names() -> tuple[str, ...]:
    """The names of all networks here: `glimpses_` and a recurrent layer's, or `convnet`."""
    return (_WHOLE, *(_PREFIX + layer for layer in recurrent.names()))


class GlimpseNetwork(nn.Module):
    """Images (B, C, 28, 28) to logits, one a class, by a recurrent layer that sees glimpses."""

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
        """The input of each step, (B, T, 49·C + 21): pixels, and their place as a one-hot vector."""
        coarse, fine = (
            unfold(image, GLIMPSE, stride=GLIMPSE).transpose(1, 2)
            for image in (avg_pool2d(x_BCHW, 2), x_BCHW)
        )
        nothing = torch.zeros_like(coarse[:, :1])
        places_BGF = torch.cat([coarse, fine, nothing], 1)
        size_G = places_BGF.shape[1]
        where_TG = torch.eye(size_G, dtype=x_BCHW.dtype, device=x_BCHW.device)[self.order_T]
        where_BTG = where_TG.expand(len(x_BCHW), -1, -1)
        return torch.cat([places_BGF[:, self.order_T], where_BTG], 2)


class Rounds(nn.Module):
    """Reads each round of glimpses by itself; fast weights hold the states of all rounds.

    A round starts from an empty state, h(t) = f(LN(W h(t−1) + C x(t) + b)), so a part looks the same
    whatever came before it. Each state is written to the fast weights: A ← λ A + η h hᵀ. The step that
    looks nowhere takes the round's last state through slow weights of its own, z = V h + c, and reads:
    h₀ = f(LN(z)), then S times h ← f(LN(z + A h)) (after Ba et al. 2016, equations 1 and 2, and the
    integration of section 4.2). No other step reads: a state written after reading would be mixed with
    earlier ones.

    Args:
        features: F, of a step.
        hidden: H.
        inner_steps: S.
        decay: λ, from 0 to 1; the default 1 keeps all of an image.
        rate: η, 0 or more.

    Raises:
        UserError: a number out of its range.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        *,
        inner_steps: int = 1,
        decay: float = 1.0,
        rate: float = 0.1,
    ):
        super().__init__()
        check_inner_steps(inner_steps)
        check_share("decay", decay)
        check_rate(rate)
        self.inner_steps, self.decay, self.rate = inner_steps, decay, rate
        self.look = nn.Linear(features, hidden)
        self.recur = nn.Linear(hidden, hidden, bias=False)
        self.integrate = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        with torch.no_grad():
            for slow in (self.recur, self.integrate):
                nn.init.eye_(slow.weight).mul_(INITIAL_W)

    def forward(self, x_BTF: Tensor) -> tuple[Tensor, None]:
        """The states after each round, (B, R, H), and no state to go on from."""
        z_BTH = self.look(x_BTF)
        coarse = len(_COARSE)
        # Rounds are independent, so all fine ones are read at once.
        rounds_BRTH = torch.unflatten(z_BTH[:, coarse + 1 :], 1, (coarse, -1))
        fine_BRKH = torch.unflatten(
            self._read(rounds_BRTH[:, :, :-1].flatten(0, 1)), 0, (-1, coarse)
        )
        past_BPH, integrated = z_BTH[:, :0], []
        for states_BKH in (self._read(z_BTH[:, :coarse]), *fine_BRKH.unbind(1)):
            past_BPH = torch.cat([past_BPH, states_BKH], 1)
            integrated.append(self._integrated(states_BKH[:, -1], past_BPH))
            past_BPH = torch.cat([past_BPH, integrated[-1][:, None]], 1)
        return torch.stack(integrated, 1), None

    def _read(self, z_BKH: Tensor) -> Tensor:
        """The states of a round, from its glimpses' inputs."""
        states = [self._active(z_BKH[:, 0])]
        for z_BH in z_BKH.unbind(1)[1:]:
            states.append(self._active(z_BH + self.recur(states[-1])))
        return torch.stack(states, 1)

    def _integrated(self, last_BH: Tensor, past_BPH: Tensor) -> Tensor:
        z_BH = self.integrate(last_BH)
        weight_P = self.rate * self.decay ** torch.arange(past_BPH.shape[1]).flip(0).to(past_BPH)
        h_BH = self._active(z_BH)
        for _ in range(self.inner_steps):
            share_B1P = torch.bmm(h_BH[:, None], past_BPH.mT) * weight_P
            h_BH = self._active(z_BH + torch.bmm(share_B1P, past_BPH)[:, 0])
        return h_BH

    def _active(self, z_BH: Tensor) -> Tensor:
        h_BH: Tensor = self.norm(in_reach(z_BH)).relu()
        return h_BH


def build(
    name: str, *, classes: int, channels: int, size: int, hidden: int = 100, **fields: Any
) -> nn.Module:
    """The network of this name; `fields` are its layer's, None keeps the layer's own.

    Raises:
        UserError: images of another size, or a field that the network does not have.
    """
    if size != SIZE:
        raise UserError(f"images of {size} pixels; expected {SIZE} for {name}; give data.size")
    if name == _WHOLE:
        given(name, fields)
        return _convnet(classes, channels, hidden)
    features = channels * GLIMPSE**2 + _NOWHERE + 1
    if name == _FAST_WEIGHTS:
        layer: nn.Module = Rounds(features, hidden, **given(name, fields))
    else:
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
