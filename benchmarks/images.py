"""Figures as files that are whole or not there; the same figure gives the same file."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from firetree.durable import make_folder, write_durably


def save_figure(figure: Figure, path: Path) -> None:
    """As SVG or PNG, which the path's suffix says."""
    make_folder(path.parent)
    write_durably(path, drawn_as(path.suffix[1:], figure))


def drawn_as(form: str, figure: Figure) -> bytes:
    """The figure as a file of this form, "svg" or "png"."""
    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "firetree"}):
        metadata = {"Date": None} if form == "svg" else None
        figure.savefig(file, format=form, dpi=110, metadata=metadata)
    return file.getvalue()
