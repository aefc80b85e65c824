"""The commands about finished models: predict, export, compress, decompress."""

from __future__ import annotations

from firetree import predict
from firetree.arguments import parse

COMMANDS = ("predict",)


def run(command: str, arguments: list[str]) -> None:
    """Run one of `COMMANDS`."""
    _predict(arguments)


def _predict(arguments: list[str]) -> None:
    options = parse(predict.PredictOptions, "firetree predict", arguments)
    found = predict.answers_of(options)
    if options.labels:
        print(predict.scores(found))
    else:
        print(predict.as_json(found) if options.json else predict.as_text(found))
