"""A small GPT, and a text cut into pieces of equal length for it."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset


class GPT(nn.Module):
    def __init__(self, width: int = 64, layers: int = 2, length: int = 64):
        super().__init__()
        self.bytes, self.places = nn.Embedding(256, width), nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 256)

    def forward(self, x_BT):
        mask = nn.Transformer.generate_square_subsequent_mask(x_BT.shape[1])
        x_BTW = self.bytes(x_BT) + self.places.weight[: x_BT.shape[1]]
        return self.head(self.layers(x_BTW, mask, is_causal=True))


def text(path: str, length: int = 64) -> TensorDataset:
    data = torch.tensor(list(Path(path).read_bytes()))
    pieces = data[: len(data) // (length + 1) * (length + 1)].view(-1, length + 1)
    return TensorDataset(pieces[:, :-1], pieces[:, 1:])
