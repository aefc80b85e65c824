"""To catch a ball that is soon out of sight: a recurrent actor–critic, one batch of whole games a step.

Letters in names: B games, T moves, H hidden, K moves to choose from and the value, G what decides a
game.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from firetree.data import Account, SequenceLoader
from firetree.data.catch import MOVES, Catch, as_sequences
from firetree.data.order import RandomStream, random_stream
from firetree.data.sequences import Sequences
from firetree.documents import Expect, Positive
from firetree.fields import Fixed
from firetree.models import recurrent

ScreenSize = Annotated[int, Expect(lambda value: 3 <= value <= 100, "3 to 100 for 'catch'")]
"""Pixels a side: on a smaller screen, every ball is caught."""

VALUE_WEIGHT, ENTROPY_WEIGHT = 0.5, 0.01
"""What the value's error and the policy's entropy count for in the loss (Mnih et al. 2016)."""

_SEEN = 100
"""Units between a screen and the recurrent layer."""


@dataclass(frozen=True, slots=True)
class CatchData:
    """Games of Catch; by default the smaller of the two of Ba et al. 2016, figure 5."""

    name: Fixed[Literal["catch"]]
    size: Fixed[ScreenSize] = 16
    """Height and width of the screen in pixels."""
    examples: Fixed[Positive] = 10_000
    """Games in an epoch."""
    blank_after: Fixed[Positive] = 3
    """Frames after which the screen is blank."""


class Player(nn.Module):
    """Plays whole games, by moves drawn from its policy in training, by the likeliest in evaluation.

    A screen goes through a layer of rectified units and a recurrent one, as in Ba et al. 2016,
    section 4.4.

    Args:
        name: the recurrent layer, one of `recurrent.names()`.
        hidden: its units.
        fields: as `recurrent.build_layer` takes them (UserError likewise).
    """

    def __init__(self, game: Catch, name: str, hidden: int = 64, **fields: Any):
        super().__init__()
        self.game = game
        self.eye = nn.Sequential(nn.Flatten(-2), nn.Linear(game.size**2, _SEEN), nn.ReLU())
        self.layer = recurrent.build_layer(name, _SEEN, hidden, **fields)
        self.head = nn.Linear(hidden, MOVES + 1)

    @recurrent.also_of_none
    def forward(self, x_BG: Tensor) -> Tensor:
        """(B, T, 4): each move's logarithm of its probability, the entropy it is drawn with, the reward
        that is expected before it, and the reward after it."""
        (ball_B, paddle_B), luck_BT = x_BG[:, :2].long().unbind(1), x_BG[:, 2:]
        screens_BtNN, seen_Bt, paddle_B = self._played(ball_B, paddle_B, luck_BT)
        y_BTH, _ = self.layer(self._seen(screens_BtNN))
        log_BTM, value_BT = self._thought(y_BTH)
        # Chosen again, moves that the screens show could differ by a rounding.
        size_t = seen_Bt.shape[1]
        move_BT = torch.cat([seen_Bt, self._chosen(log_BTM[:, size_t:], luck_BT[:, size_t:])], 1)
        for move_B in move_BT[:, size_t:].unbind(1):
            paddle_B = self.game.moved(paddle_B, move_B)
        reward_BT = torch.zeros_like(value_BT)
        reward_BT[:, -1] = self.game.rewards(ball_B, paddle_B)
        made_BT = log_BTM.gather(-1, move_BT[..., None])[..., 0]
        entropy_BT = -(log_BTM * log_BTM.exp()).sum(-1)
        return torch.stack([made_BT, entropy_BT, value_BT, reward_BT], -1)

    @torch.no_grad()
    def _played(
        self, ball_B: Tensor, paddle_B: Tensor, luck_BT: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is seen before the screen is blank, which depends on the moves made.

        Returns:
            screens_BtNN, the moves between them (B, t − 1), and where the paddle is in the last.
        """
        screens = [self.game.screens(0, ball_B, paddle_B)]
        moves, state = [luck_BT[:, :0].long()], None
        for frame in range(1, min(self.game.blank_after, self.game.moves)):
            y_B1H, state = self.layer(self.eye(screens[-1])[:, None], state)
            log_B1M, _ = self._thought(y_B1H)
            move_B1 = self._chosen(log_B1M, luck_BT[:, frame - 1 : frame])
            paddle_B = self.game.moved(paddle_B, move_B1[:, 0])
            screens.append(self.game.screens(frame, ball_B, paddle_B))
            moves.append(move_B1)
        return torch.stack(screens, 1), torch.cat(moves, 1), paddle_B

    def _seen(self, screens_BtNN: Tensor) -> Tensor:
        """What the recurrent layer is given of all frames, of which the others are blank."""
        size_B, size_t = screens_BtNN.shape[:2]
        blank_1F = self.eye(torch.zeros_like(screens_BtNN[0, :1]))
        blank_BTF = blank_1F.expand(size_B, self.game.moves - size_t, -1)
        return torch.cat([self.eye(screens_BtNN), blank_BTF], 1)

    def _thought(self, y_BTH: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithm of each move's probability, and the reward that is expected."""
        thought_BTK = self.head(y_BTH).float()
        return thought_BTK[..., :MOVES].log_softmax(-1), thought_BTK[..., MOVES]

    def _chosen(self, log_BTM: Tensor, luck_BT: Tensor) -> Tensor:
        """move_BT: as luck has it in training, else the likeliest."""
        if not self.training:
            return log_BTM.argmax(-1)
        below_BTM = log_BTM.detach().exp().cumsum(-1)[..., :-1]
        return (luck_BT[..., None] >= below_BTM).sum(-1)


@dataclass(frozen=True, slots=True)
class Catching:
    """Games x_BG as `Catch` draws them; y_B is the reward that each should end with."""

    game: Catch
    examples: int

    @property
    def about(self) -> dict[str, Any]:
        return {"size": self.game.size, "blank_after": self.game.blank_after}

    @property
    def account(self) -> Account:
        return Account("games", self.examples, len(self.game.all_starts()), "each start there is")

    def build(self, fields: Mapping[str, Any]) -> nn.Module:
        given = {name: value for name, value in fields.items() if value is not None}
        return Player(self.game, **given)

    def loader(
        self, *, batch_size: int, seed: int, rank: int, world_size: int, channels_last: bool = True
    ) -> SequenceLoader:
        """New games each epoch, by seed; tested on each start there is, once."""

        def training(epoch: int) -> Sequences:
            return as_sequences(
                self.game.drawn(random_stream(RandomStream.GAMES, seed, epoch), self.examples)
            )

        return SequenceLoader(
            training,
            as_sequences(self.game.all_starts()),
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )

    def example(self, count: int) -> Tensor:
        return torch.zeros(count, 2 + self.game.moves)

    def loss(self, outputs: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """That of an advantage actor–critic (Mnih et al. 2016, section 4); as the only reward is the
        last one, it is the return of every move."""
        log_move_BT, entropy_BT, value_BT, reward_BT = outputs.unbind(-1)
        advantage_BT = reward_BT[:, -1:] - value_BT
        loss_BT: Tensor = (
            -log_move_BT * advantage_BT.detach()
            + VALUE_WEIGHT * advantage_BT**2
            - ENTROPY_WEIGHT * entropy_BT
        )
        return loss_BT.sum()

    def right(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Balls that are caught."""
        return (outputs[:, -1, -1] == y).sum()

    def figures(self, loss: float) -> dict[str, float]:
        return {}


def load_catch(data: CatchData, seed: int) -> Catching:
    """The game of a recipe, which is the same for every seed."""
    return Catching(Catch(data.size, data.blank_after), data.examples)
