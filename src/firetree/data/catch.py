"""Catch: a ball falls down a screen, and the player's paddle must be where it arrives.

This module has the game's rules, for many games at once; the player is in `tasks`.

Letters in names: B games, N pixels a side of the screen, T moves, G numbers that decide a game.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from firetree.data.sequences import Sequences

MOVES = 3
"""Left, stay, right."""

_PADDLE = 2
"""Pixels of the paddle."""


@dataclass(frozen=True, slots=True)
class Catch:
    """The game of Ba et al. 2016, section 4.4; ball and paddle start anywhere.

    A game has N frames of N×N pixels. In frame t, counted from 0, the ball is the pixel in row t of its
    column, and the paddle is two pixels of the last row. Between frames the paddle stays, or moves one
    pixel to the left or right, at most to the edge. The last frame gives the reward: 1 where the paddle has
    caught the ball, else −1.

    Args:
        size: N.
        blank_after: frames after which the player sees a blank screen.
    """

    size: int
    blank_after: int

    @property
    def moves(self) -> int:
        """T, moves of a game: one after each frame but the last."""
        return self.size - 1

    def drawn(self, generator: np.random.Generator, count: int) -> Tensor:
        """games_BG: the column of the ball, that of the paddle's left pixel, and a number for each move.

        The number, from 0 to 1, draws the move from the player's probabilities.
        """
        ball_B1 = generator.integers(0, self.size, (count, 1))
        paddle_B1 = generator.integers(0, self.size - 1, (count, 1))
        luck_BT = generator.random((count, self.moves), np.float32)
        return torch.from_numpy(np.concatenate([ball_B1, paddle_B1, luck_BT], 1, dtype=np.float32))

    def all_starts(self) -> Tensor:
        """games_BG: each possible start once; moves get the number 0."""
        columns = torch.arange(float(self.size))
        start_B2 = torch.cartesian_prod(columns, columns[:-1])
        return torch.cat([start_B2, torch.zeros(len(start_B2), self.moves)], 1)

    def screens(self, frame: int, ball_B: Tensor, paddle_B: Tensor) -> Tensor:
        """(B, N, N), rows from the top: the screen that the player sees in a frame."""
        screen_BNN = torch.zeros(len(ball_B), self.size, self.size, device=ball_B.device)
        if frame < self.blank_after:
            game_B = torch.arange(len(ball_B), device=ball_B.device)
            screen_BNN[game_B, frame, ball_B] = 1
            for pixel in range(_PADDLE):
                screen_BNN[game_B, -1, paddle_B + pixel] = 1
        return screen_BNN

    def moved(self, paddle_B: Tensor, move_B: Tensor) -> Tensor:
        """Where the paddle is after a move, 0 to the left, 1 to stay, 2 to the right."""
        return (paddle_B + move_B - 1).clamp(0, self.size - _PADDLE)

    def rewards(self, ball_B: Tensor, paddle_B: Tensor) -> Tensor:
        """The rewards of the last frame: 1 where the ball is caught, −1 elsewhere."""
        offset_B = ball_B - paddle_B
        return torch.where((offset_B >= 0) & (offset_B < _PADDLE), 1.0, -1.0)


def as_sequences(games_BG: Tensor) -> Sequences:
    """Games as a loader takes them; the target of each is its best reward, 1."""
    return Sequences(games_BG.numpy(), np.ones(len(games_BG), np.int64))
