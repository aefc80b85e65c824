"""A net's fast weights and attention as shaded tables and small images, without scripts."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from PIL import Image
from torch import Tensor

from firetree.memory import Reading

MOST_MATRICES = 24
"""The most images of a matrix; of longer sequences, evenly spaced steps are shown."""

LEAST_PART = 0.005
"""Cells below this fraction of the largest number stay empty, which keeps long pages small."""

POSITIVE, NEGATIVE = (29, 95, 209), (196, 88, 10)
"""Red, green and blue of the largest number, and of the most negative one."""


_STYLE = (
    ".memory table{border-collapse:collapse;margin:.5em 0}"
    ".memory :is(th,td){width:1.5em;height:1.5em;padding:0;text-align:center;border:1px solid #ddd}"
    ".memory :is(th,h2 span){font-family:monospace}.memory{overflow-x:auto}"
    ".memory figure{display:inline-block;margin:.3em;text-align:center}"
    ".memory img{width:9em;image-rendering:pixelated;border:1px solid #ddd}"
)


def fragment(reading: Reading) -> str:
    """A table of attention and the fast weights after each step."""
    parts = [
        *(_attention(reading, name) for name in reading.attention),
        *(_matrices(reading, name) for name in reading.matrices),
    ]
    return (
        f'<style>{_STYLE}</style><section class="memory">'
        f"<h2><span>{escape(' '.join(reading.symbols))}</span> → "
        f"<span>{escape(reading.answer)}</span>{_verdict(reading)}</h2>{''.join(parts)}</section>"
    )


def most_read(weights_T: Tensor) -> list[tuple[int, float]]:
    """The steps with attention and their shares of it, the largest first."""
    share_T = weights_T / weights_T.abs().sum()
    order = weights_T.abs().argsort(descending=True, stable=True).tolist()
    return [(step, float(share_T[step])) for step in order if weights_T[step]]


def _verdict(reading: Reading) -> str:
    if reading.expected is None:
        return ""
    right = reading.answer == reading.expected
    return " (right)" if right else f" (wrong, it is {escape(reading.expected)})"


def _attention(reading: Reading, name: str) -> str:
    weights_TT, symbols = reading.attention[name], reading.symbols
    looks = ", ".join(
        f"{escape(symbols[step])} (step {step + 1}, {share:.0%})"
        for step, share in most_read(weights_TT[-1])[:3]
    )
    largest = float(weights_TT.abs().max())
    heads = "".join(f"<th>{escape(symbol)}</th>" for symbol in symbols)
    rows = (
        f"<tr><th>{escape(symbol)}</th>{''.join(_cell(weight, largest) for weight in row_T)}</tr>"
        for symbol, row_T in zip(symbols, weights_TT.tolist(), strict=True)
    )
    return (
        f"<p>At the last symbol, {escape(symbols[-1])}, the net attends to {looks or 'nothing'}.</p>"
        f"<p>Attention of each symbol (row) to each step (column) in {escape(name)}; the darkest cell is "
        f"{largest:.3g}.</p><table><tr><th></th>{heads}</tr>{''.join(rows)}</table>"
    )


def _cell(weight: float, largest: float) -> str:
    part = abs(weight) / (largest or 1.0)
    if part < LEAST_PART:
        return "<td></td>"
    red, green, blue = POSITIVE if weight > 0 else NEGATIVE
    return (
        f'<td title="{weight:.3g}" style="background:rgba({red},{green},{blue},{part:.2f})"></td>'
    )


def _matrices(reading: Reading, name: str) -> str:
    matrices_TDD = reading.matrices[name]
    largest = float(matrices_TDD.abs().max())
    last = len(matrices_TDD) - 1
    steps = np.unique(np.linspace(0, last, min(last + 1, MOST_MATRICES)).round().astype(int))
    figures = (
        f'<figure><img alt="{escape(name)} after step {step + 1}" '
        f'src="{_image(matrices_TDD[step], largest)}"><figcaption>{step + 1}: '
        f"{escape(reading.symbols[step])}</figcaption></figure>"
        for step in steps.tolist()
    )
    return f"<p>{escape(name)} after each step; the darkest pixel is {largest:.3g}.</p>{''.join(figures)}"


def _image(matrix_DD: Tensor, largest: float) -> str:
    """One pixel for each element, from white for 0 to the colour of its sign for `largest`."""
    level_DD1 = (matrix_DD / (largest or 1.0)).numpy()[:, :, None]
    colour = np.where(level_DD1 > 0, POSITIVE, NEGATIVE)
    pixels = 255 + np.abs(level_DD1) * (colour - 255)
    file = io.BytesIO()
    Image.fromarray(pixels.round().astype(np.uint8)).save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
