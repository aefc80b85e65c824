"""`firetree decompress`: the weights of a `.fire`, as safetensors."""

from __future__ import annotations

from firetree import deep_compression
from firetree.arguments import parse


def run(arguments: list[str]) -> None:
    """Run `firetree decompress` with these arguments."""
    deep_compression.decompress(
        parse(deep_compression.DecompressOptions, "firetree decompress", arguments)
    )
