"""`firetree scan`: how much each layer can be pruned."""

from __future__ import annotations

from firetree import deep_compression, output
from firetree.arguments import parse
from firetree.durable import check_writable


def run(arguments: list[str]) -> None:
    """Run `firetree scan` with these arguments."""
    options = parse(deep_compression.ScanOptions, "firetree scan", arguments)
    check_writable(options.html)
    output.show(deep_compression.scan(options, output.tell))
