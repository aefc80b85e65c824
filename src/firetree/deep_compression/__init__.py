"""Deep Compression to a real file, and back.

compressed = compress.keep_exactly(weights.load(Path("squeezenet.net")))
content = compress.write(compressed)
network = weights.build(compress.read(content).expand())
"""

from firetree.deep_compression.options import (
    CompressOptions,
    DecompressOptions,
    ScanOptions,
    compress,
    decompress,
    is_fire,
    open_fire,
    open_model,
    scan,
)
from firetree.modelfiles.fire.fire import read, write
from firetree.modelfiles.fire.inspection import as_json, as_text, inspect
from firetree.modelfiles.fire.shared import Compressed, Shared, keep_exactly

__all__ = [
    "CompressOptions",
    "Compressed",
    "DecompressOptions",
    "ScanOptions",
    "Shared",
    "as_json",
    "as_text",
    "compress",
    "decompress",
    "inspect",
    "is_fire",
    "keep_exactly",
    "open_fire",
    "open_model",
    "read",
    "scan",
    "write",
]
