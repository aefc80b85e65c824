"""`firetree inspect`: what a network's layers weigh and compute, or take in a `.fire`."""

from __future__ import annotations

from pathlib import Path

from firetree import deep_compression, modelfiles, models, output
from firetree.arguments import parse
from firetree.models import inspection


def run(arguments: list[str]) -> None:
    options = parse(inspection.InspectOptions, "firetree inspect", arguments)
    path = Path(options.model)
    if deep_compression.is_fire(path):
        held = deep_compression.inspect(deep_compression.open_fire(path), path.stat().st_size)
        output.show(
            deep_compression.as_json(held) if options.json else deep_compression.as_text(held)
        )
        return
    if path.exists() and options.model not in models.names():
        published = deep_compression.open_model(path, output.tell)
        network, example = modelfiles.build(published), modelfiles.example(published, options.size)
        found = inspection.inspect_network(options, network, example)
    else:
        found = inspection.inspect(options)
    output.show(inspection.as_json(found) if options.json else inspection.as_text(found))
