"""The pieces that a web archive file is stored in: gzip members, LZ4 frames, or the plain file, each with its place.

A piece is handed out only when all of it was inflated and its checksum held; what is damaged is reported with its span
and the walk goes on at the next piece that begins with a record. Nothing is ever inflated into memory without a bound.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

READ_BYTES = 1 << 15  # read from the file at once
PIECE_BYTES = 1 << 20  # inflated at once
BUFFER_BYTES = 32 << 20  # a member up to this size stays in memory, a larger one is inflated again as it is read
BOMB_BYTES = 16 << 20  # a member may grow to this size whatever its ratio,
BOMB_RATIO = 200  # and beyond it only while inflated / compressed stays under this (deflate itself ends at 1032)
WASTE_BYTES = 4 << 30  # inflated in vain, in damaged members of one file, before the rest of it is given up
GZIP_MAGIC = b"\x1f\x8b\x08"
LZ4_MAGIC = b"\x04\x22\x4d\x18"
OTHER_MAGICS = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x5d\x2a\x4d\x18": "zstd with a dictionary",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}


@dataclass(frozen=True)
class Damage:
    """Why a piece, or the record in it, cannot be read: a typed reason and what was seen."""

    reason: str
    detail: str


class View(Protocol):
    """Random access to the inflated bytes of a piece; reading forward is cheap."""

    size: int

    def read(self, offset: int, length: int) -> bytes: ...


@dataclass(frozen=True)
class Member:
    """One piece of the file: its span in the file (bytes) and its content.

    view is None where nothing can be trusted; with damage "truncated" it shows the prefix that is there, unverified.
    """

    offset: int
    length: int
    view: View | None
    damage: Damage | None = None
    compressed: bool = True


class BytesView:
    """A piece that is in memory."""

    def __init__(self, content: bytes) -> None:
        self.content, self.size = content, len(content)

    def read(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]


class FileView:
    """An uncompressed file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def read(self, offset: int, length: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(max(0, min(length, self.size - offset)))


class InflatingView:
    """A large gzip member, inflated anew as it is read; going back starts over."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self.file, self.start, self.size = file, start, size
        self._restart()

    def _restart(self) -> None:
        self.pieces = _inflate(self.file, self.start)
        self.window, self.window_start = b"", 0

    def read(self, offset: int, length: int) -> bytes:
        if offset < self.window_start:
            self._restart()
        while self.window_start + len(self.window) < min(offset + length, self.size):
            piece = next(self.pieces)
            keep = max(0, offset - self.window_start)
            self.window_start += min(keep, len(self.window))
            self.window = self.window[keep:] + piece.content
        skip = offset - self.window_start
        return self.window[skip : skip + min(length, self.size - offset)]


@dataclass(frozen=True)
class _Piece:
    content: bytes
    consumed: int  # compressed bytes read so far


def _inflate(file: BinaryIO, start: int) -> Iterator[_Piece]:
    """Inflated pieces of the gzip member at `start`; raises zlib.error on damage, EOFError where the file ends early.

    zlib itself checks the member's CRC-32 and length at its end.
    """
    inflate = zlib.decompressobj(31)
    position, pending = start, b""
    while not inflate.eof:
        at_end = False
        if not pending:
            file.seek(position)
            pending = file.read(READ_BYTES)
            position += len(pending)
            at_end = not pending
        content = inflate.decompress(pending, PIECE_BYTES)
        pending = inflate.unconsumed_tail
        if content or inflate.eof:
            yield _Piece(content, position - len(pending) - len(inflate.unused_data) - start)
        elif at_end:
            raise EOFError


def _read_member(file: BinaryIO, start: int, file_size: int) -> tuple[Member, int]:
    """The gzip member at `start`, and how many bytes were inflated for it."""
    kept: list[bytes] | None = []
    size = consumed = 0
    damage = None
    try:
        for piece in _inflate(file, start):
            size += len(piece.content)
            consumed = piece.consumed
            if size > BOMB_BYTES and size > BOMB_RATIO * consumed:
                damage = Damage("gzip_bomb", f"{size} bytes out of the first {consumed}: refused to inflate more")
                return Member(start, consumed, None, damage), size
            if size > BUFFER_BYTES:
                kept = None
            if kept is not None:
                kept.append(piece.content)
    except EOFError:
        damage = Damage("truncated", f"the file ends inside a gzip member, after {size} inflated bytes")
        consumed = file_size - start
    except zlib.error as error:
        return Member(start, consumed, None, Damage("corrupt_gzip", f"{error} after about {size} inflated bytes")), size
    view = BytesView(b"".join(kept)) if kept is not None else InflatingView(file, start, size)
    return Member(start, consumed, view, damage), size


def _begins_record(file: BinaryIO, offset: int) -> bool:
    """Whether a gzip member that holds a WARC record begins at the offset."""
    try:
        return next(_inflate(file, offset)).content.upper().startswith(b"WARC/")
    except (zlib.error, EOFError, StopIteration):
        return False


def _next_member(file: BinaryIO, after: int, file_size: int) -> int:
    """Offset of the next gzip member that begins with a record, from `after` on; the file's size if there is none."""
    position = after
    while position < file_size:
        file.seek(position)
        chunk = file.read(PIECE_BYTES)
        for match in re.finditer(re.escape(GZIP_MAGIC) + rb"[\x00-\x1f]", chunk):
            if _begins_record(file, position + match.start()):
                return position + match.start()
        position += max(1, len(chunk) - len(GZIP_MAGIC))
    return file_size


def _gzip_members(file: BinaryIO, file_size: int) -> Iterator[Member]:
    offset, wasted = 0, 0
    while offset < file_size:
        if wasted > WASTE_BYTES:
            detail = "so much of the file is damaged that the rest is not tried"
            yield Member(offset, file_size - offset, None, Damage("too_damaged", detail))
            return
        file.seek(offset)
        if not file.read(len(GZIP_MAGIC)).startswith(GZIP_MAGIC[:2]):
            end = _next_member(file, offset + 1, file_size)
            yield Member(offset, end - offset, None, Damage("junk", "bytes that begin no gzip member"))
        else:
            member, inflated = _read_member(file, offset, file_size)
            end = offset + member.length
            if member.damage:
                wasted += inflated
                end = _next_member(file, offset + 1, file_size)
                if end < file_size and member.damage.reason == "truncated":  # it ran over members that are whole
                    member = Member(offset, 0, None, Damage("corrupt_gzip", "the member runs into the next ones"))
                member = Member(offset, end - offset, member.view, member.damage)
            yield member
        offset = end


def _lz4_frame_end(file: BinaryIO, start: int, file_size: int) -> int:
    """End of the LZ4 frame at `start`, found by its block lengths; EOFError where the file ends inside it."""
    file.seek(start)
    head = file.read(5)
    flags = head[4] if len(head) == 5 and head.startswith(LZ4_MAGIC) else None
    if flags is None or flags >> 6 != 1:
        raise ValueError("no LZ4 frame")
    position = start + 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
    while True:
        file.seek(position)
        word = file.read(4)
        if len(word) < 4 or position > file_size:
            raise EOFError
        length = struct.unpack("<I", word)[0]
        position += 4
        if not length:
            break
        position += (length & 0x7FFFFFFF) + (4 if flags & 16 else 0)
    position += 4 if flags & 4 else 0
    if position > file_size:
        raise EOFError
    return position


def _lz4_frames(file: BinaryIO, file_size: int) -> Iterator[Member]:
    """One member a frame, as FastWARC writes them. A damaged frame ends the walk: LZ4 has no mark to find again."""
    from fastwarc.stream_io import Lz4Reader

    offset = 0
    while offset < file_size:
        rest = file_size - offset
        try:
            end = _lz4_frame_end(file, offset, file_size)
        except EOFError:
            yield Member(offset, rest, None, Damage("truncated", "the file ends inside an LZ4 frame"))
            return
        except ValueError:
            yield Member(offset, rest, None, Damage("junk", "bytes that begin no LZ4 frame"))
            return
        if end - offset > BUFFER_BYTES:
            yield Member(offset, end - offset, None, Damage("too_large", f"an LZ4 frame of {end - offset} bytes"))
            offset = end
            continue
        file.seek(offset)
        reader = Lz4Reader(io.BytesIO(file.read(end - offset)))
        view, damage = None, None
        try:
            content = bytearray()
            while (piece := reader.read(PIECE_BYTES)) and len(content) <= BUFFER_BYTES:
                content += piece
            if len(content) > BUFFER_BYTES:
                damage = Damage("too_large", f"an LZ4 frame of more than {BUFFER_BYTES} inflated bytes")
            else:
                view = BytesView(bytes(content))
        except OSError as error:
            damage = Damage("corrupt_lz4", str(error))
        yield Member(offset, end - offset, view, damage)
        offset = end


def members(file: BinaryIO, file_size: int) -> Iterator[Member]:
    """Every piece of a file, in order; the kind of compression is told by its first bytes, never by its name.

    An empty file gives one damaged member "empty_file"; zstd, bzip2 and xz give one "unsupported_compression".
    """
    file.seek(0)
    first = file.read(8)
    if not file_size:
        yield Member(0, 0, None, Damage("empty_file", "no bytes"))
    elif first.startswith(GZIP_MAGIC):
        yield from _gzip_members(file, file_size)
    elif first.startswith(LZ4_MAGIC):
        yield from _lz4_frames(file, file_size)
    elif name := next((name for magic, name in OTHER_MAGICS.items() if first.startswith(magic)), None):
        yield Member(0, file_size, None, Damage("unsupported_compression", name))
    else:
        yield Member(0, file_size, FileView(file, file_size), compressed=False)


def member_at(file: BinaryIO, offset: int, length: int, file_size: int) -> Member:
    """The one piece at a known place; for a plain file the view shows `length` bytes from the offset."""
    file.seek(offset)
    first = file.read(4)
    if first.startswith(GZIP_MAGIC):
        return _read_member(file, offset, file_size)[0]
    file.seek(offset)
    content = file.read(min(length, BUFFER_BYTES * 2))
    if first.startswith(LZ4_MAGIC):
        return next(_lz4_frames(io.BytesIO(content), len(content)))
    return Member(offset, length, BytesView(content), compressed=False)
