"""`firetree predict`: which classes pictures belong to, or what words and lines become."""

from __future__ import annotations

from firetree import output, prediction
from firetree.arguments import parse


def run(arguments: list[str]) -> None:
    """Run `firetree predict` with these arguments."""
    options = parse(prediction.PredictOptions, "firetree predict", arguments)
    output.show(prediction.run(options, output.tell))
