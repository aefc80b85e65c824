"""`firetree compress`: a model into a small file that predicts."""

from __future__ import annotations

from firetree import deep_compression, output
from firetree.arguments import parse
from firetree.durable import check_writable


def run(arguments: list[str]) -> None:
    """Run `firetree compress` with these arguments."""
    options = parse(deep_compression.CompressOptions, "firetree compress", arguments)
    check_writable(options.output)
    output.show(deep_compression.compress(options, output.tell))
