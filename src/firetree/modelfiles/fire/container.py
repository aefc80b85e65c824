"""The frame of a `.fire` file: a version, and sections, each behind its length and checksum.

What the sections mean is in `firetree.modelfiles.fire.fire`; byte by byte it is in `docs/fire-format.md`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from firetree.errors import UserError

MAGIC = b"FIRE"
VERSION = 2

_FRONT = struct.Struct("<4sBB")
_SECTION = struct.Struct("<4sII")


def frame(sections: Mapping[bytes, bytes]) -> bytes:
    """A file of these sections, by tags of four letters."""
    parts = [_FRONT.pack(MAGIC, VERSION, len(sections))]
    for tag, content in sections.items():
        parts += [_SECTION.pack(tag, len(content), zlib.crc32(content, zlib.crc32(tag))), content]
    return b"".join(parts)


def unframe(content: bytes, tags: tuple[bytes, ...]) -> list[bytes]:
    """The sections of these tags, which must be all and in this order.

    Raises:
        UserError: no `.fire`, one of another version, or one that is cut off or changed.
    """
    if len(content) < _FRONT.size or content[:4] != MAGIC:
        raise UserError("no .fire file: it does not begin with FIRE")
    _, version, count = _FRONT.unpack_from(content)
    if version != VERSION:
        raise UserError(f"a .fire of version {version}; expected {VERSION}, as this firetree reads")
    if count != len(tags):
        raise UserError(f"the .fire has {count} sections; expected {len(tags)}")
    bodies, offset = [], _FRONT.size
    for tag in tags:
        section = content[offset : offset + _SECTION.size]
        if len(section) < _SECTION.size:
            raise UserError(f"the .fire is cut off before section {tag.decode()}")
        name, length, checksum = _SECTION.unpack(section)
        offset += _SECTION.size
        body = content[offset : offset + length]
        if name != tag or len(body) < length or zlib.crc32(body, zlib.crc32(tag)) != checksum:
            raise UserError(f"section {tag.decode()} of the .fire is damaged or cut off")
        bodies.append(body)
        offset += length
    if offset != len(content):
        raise UserError(f"{len(content) - offset} bytes behind the end of the .fire")
    return bodies
