"""SqueezeNet and its whole design space (Iandola et al. 2016, arXiv 1602.07360).

A `SqueezeNetShape` describes a member of the family, and `SqueezeNet` is the network of that shape.
`firetree.models` builds members by name.

Axes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firetree.errors import UserError
from firetree.models.batch_norm import NormedConv2d
from firetree.models.classic import CLASSIC_STEM_SIZE, THREE_POOL_SIZE

Bypass = Literal["none", "simple", "complex"]

BRANCH_GAIN = 0.1
"""Scale, relative to He's, of the first weights of branches that are added to a bypass (in the spirit of
Fixup, Zhang et al. 2019)."""

CARRIED_GAIN = 0.3
"""Scale, relative to He's, of conv1's first weights where bypasses carry its features to conv10."""


class Stem(NamedTuple):
    """The first convolution, conv1."""

    filters: int
    kernel: int
    stride: int
    padding: int


class FireWidths(NamedTuple):
    """Filters of a fire module: s1x1, e1x1 and e3x3 of the paper's section 3.2."""

    squeeze1x1: int
    expand1x1: int
    expand3x3: int

    @property
    def out(self) -> int:
        """Channels that the fire module gives."""
        return self.expand1x1 + self.expand3x3


@dataclass(frozen=True, slots=True)
class SqueezeNetShape:
    """A member of the family, by the metaparameters of the paper's section 5.1, as `SqueezeNetModel`
    explains them.

    Raises:
        UserError: a padding that conv10 cannot have, or a layer left without filters.
    """

    stem: Stem
    pools: tuple[int, ...]
    """Where a 3x3 max pooling of stride 2 is: 1 is after conv1, k after fire k."""
    base_e: int = 128
    incr_e: int = 128
    freq: int = 2
    pct_3x3: float = 0.5
    squeeze_ratio: float = 0.125
    bypass: Bypass = "none"
    """Section 6: around fire modules that keep the width (simple), or around all, through a 1x1
    convolution where the width changes (complex). Around v1.0 the latter makes 6.1 MiB (6.4 MB) of
    weights; the paper's 7.7 MB follows from its figure 2 in neither unit."""
    dropout: float = 0.5
    fires: int = 8
    """Fire modules, named fire2 onwards."""
    conv10_padding: int = 0
    """Padding of the 1x1 convolution conv10, 0 or 1."""
    batch_norm: bool = False
    """Normalisation of all convolutions before a ReLU but conv10 and those of bypasses, while the
    network is trained; the paper has none."""

    def __post_init__(self) -> None:
        # A convolution takes a padding of 1.0 too, and fails when it is used.
        if type(self.conv10_padding) is not int or self.conv10_padding not in (0, 1):
            raise UserError(f"conv10_padding = {self.conv10_padding}; expected 0 or 1")
        for layer, filters in self.widths()[0]._asdict().items():
            if filters < 1:
                raise UserError(
                    f"{layer} of fire2 has 0 filters: base_e = {self.base_e} with squeeze_ratio = "
                    f"{self.squeeze_ratio} and pct_3x3 = {self.pct_3x3}; expected a larger base_e"
                )

    def widths(self) -> tuple[FireWidths, ...]:
        """Filters of each fire module, in order.

        Section 5.1: e_i = base_e + incr_e * floor(i / freq) with i from 0, s1x1 = SR * e_i,
        e3x3 = pct_3x3 * e_i, e1x1 = e_i - e3x3; rounded to whole filters.
        """
        widths = []
        for i in range(self.fires):
            e = self.base_e + self.incr_e * (i // self.freq)
            e3x3 = round(self.pct_3x3 * e)
            widths.append(FireWidths(round(self.squeeze_ratio * e), e - e3x3, e3x3))
        return tuple(widths)


def fit(shape: SqueezeNetShape, size: int) -> SqueezeNetShape:
    """The shape as it should be for images of `size` pixels a side, at least 8.

    Below `CLASSIC_STEM_SIZE` conv1 is 3x3 and keeps the resolution, and only the first pools stay. conv10 is
    not padded: around 2x2 cells, most of its outputs would see only padding.
    """
    if size >= CLASSIC_STEM_SIZE:
        return shape
    pools = shape.pools[: 3 if size >= THREE_POOL_SIZE else 2]
    return replace(shape, stem=Stem(shape.stem.filters, 3, 1, 1), pools=pools, conv10_padding=0)


class Fire(nn.Module):
    """Squeeze with 1x1 filters, then expand with 1x1 and 3x3 filters side by side (section 3.2).

    (B, in_channels, H, W) to (B, widths.out, H, W).
    """

    def __init__(
        self, in_channels: int, widths: FireWidths, bypass: Bypass, conv: type[nn.Conv2d]
    ) -> None:
        super().__init__()
        self.squeeze1x1 = conv(in_channels, widths.squeeze1x1, 1)
        self.expand1x1 = conv(widths.squeeze1x1, widths.expand1x1, 1)
        self.expand3x3 = conv(widths.squeeze1x1, widths.expand3x3, 3, padding=1)
        self.bypass: nn.Module | None = None
        if bypass != "none" and in_channels == widths.out:
            self.bypass = nn.Identity()
        elif bypass == "complex":
            self.bypass = nn.Conv2d(in_channels, widths.out, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        squeezed = F.relu(self.squeeze1x1(x_BCHW))
        expanded = F.relu(torch.cat([self.expand1x1(squeezed), self.expand3x3(squeezed)], dim=1))
        return expanded if self.bypass is None else expanded + self.bypass(x_BCHW)


class SqueezeNet(nn.Module):
    """Images (B, channels, H, W) to logits (B, classes), all of them 0 or more.

    Layers: conv1, fire2 to fire9, conv10, as in Table 1 and figure 2. A 227x227 image leaves
    conv10 of v1.0 as 15x15, by the padding of the published network; Table 1 has 13x13.
    """

    def __init__(self, shape: SqueezeNetShape, *, classes: int, channels: int) -> None:
        super().__init__()
        self.shape = shape
        conv = NormedConv2d if shape.batch_norm else nn.Conv2d
        self.conv1 = conv(channels, *shape.stem)
        width = shape.stem.filters
        for k, widths in enumerate(shape.widths(), start=2):
            self.add_module(f"fire{k}", Fire(width, widths, shape.bypass, conv))
            width = widths.out
        self.conv10 = nn.Conv2d(width, classes, 1, padding=shape.conv10_padding)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                _fill_bias(module, 0.0)
        # Each bypass doubles the power of the features. Without normalisation, conv10's first steps would
        # be so large that all its units stay inactive.
        if self.shape.bypass != "none":
            self.conv1.weight *= CARRIED_GAIN
        for module in self.modules():
            if isinstance(module, Fire) and module.bypass is not None:
                module.expand1x1.weight *= BRANCH_GAIN
                module.expand3x3.weight *= BRANCH_GAIN
        nn.init.normal_(self.conv10.weight, std=0.01)
        # The published bias is 0. A bias that all classes share does not change the softmax, and keeps
        # every class on the active side of the ReLU while features are still random.
        _fill_bias(self.conv10, 1.0)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self._pool(F.relu(self.conv1(x_BCHW)), after=1)
        for k in range(2, self.shape.fires + 2):
            x_BCHW = self._pool(self.get_submodule(f"fire{k}")(x_BCHW), after=k)
        x_BCHW = F.dropout(x_BCHW, self.shape.dropout, self.training)
        return F.relu(self.conv10(x_BCHW)).mean(dim=(2, 3))

    def _pool(self, x_BCHW: Tensor, after: int) -> Tensor:
        if after not in self.shape.pools:
            return x_BCHW
        return F.max_pool2d(x_BCHW, 3, stride=2, ceil_mode=True)


def _fill_bias(layer: nn.Conv2d, value: float) -> None:
    if layer.bias is not None:
        nn.init.constant_(layer.bias, value)
