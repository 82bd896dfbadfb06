"""A PNG as its decoder should see it: checked, and with nothing in it but what the pixels need. Stdlib only.

    pixels_only(content, max_pixels)      # -> Png(content, profile, key); raises Rejected("damaged") where a checksum is wrong

Pillow looks at no checksum of the pixels, takes a stream that ends early for black rows, and gives up the
whole file for a text of more than 1 MB.
"""

import contextlib
import dataclasses
import zlib

from keras_dcgan.data.formats.kinds import DAMAGED, NOT_SUPPORTED, TOO_LARGE, TRUNCATED, Rejected

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PASSED_ON = (b"tRNS", b"eXIf")  # beside what is critical; of all else a wrong checksum costs only itself
# In which the orientation may stand, as ImageMagick and Adobe write it; the size is far below what Pillow
# gives up at.
TEXTS = (b"XML:com.adobe.xmp\0\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")
LARGEST_TEXT = 1 << 19  # bytes, unpacked
LARGEST_PROFILE = 1 << 24  # bytes, unpacked
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> channels
ADAM7 = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
]  # x, y, steps of x and y
AT_ONCE = 1 << 18  # bytes unpacked at a time


@dataclasses.dataclass(frozen=True)
class Png:
    content: bytes
    profile: bytes | None  # ICC
    bits: int
    key: (
        tuple[int, ...] | None
    )  # the colour that is transparent, in `bits`; None where Pillow knows what to do


def pixels_only(content: bytes, max_pixels: int) -> Png:
    view = memoryview(content)
    kept, stream, header, profile, key = [SIGNATURE], [], b"", None, None
    position = len(SIGNATURE)
    while position + 8 <= len(view):
        length, name = (
            int.from_bytes(view[position : position + 4], "big"),
            bytes(view[position + 4 : position + 8]),
        )
        body, end = view[position + 8 : position + 8 + length], position + 12 + length
        is_critical = not name[0] & 0x20
        if end > len(view):
            if name == b"IDAT":  # cut; the rest may still be all that is needed
                stream.append(body)
                kept.append(_chunk(name, body))
            break
        if name == b"IEND":
            break
        if is_critical or name in (*PASSED_ON, b"iCCP") or _is_short_text(name, body):
            if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
                if is_critical or name == b"tRNS":  # which decides of pixels too
                    raise Rejected(DAMAGED)
            elif name == b"CgBI":
                raise Rejected(NOT_SUPPORTED.format("Apple's own kind of PNG"))
            elif name == b"iCCP":
                profile = profile or _unpacked(bytes(body).partition(b"\0")[2][1:], LARGEST_PROFILE)
            else:
                if name == b"IHDR" and not header:
                    header = bytes(body)
                elif name == b"IDAT":
                    stream.append(body)
                elif name == b"tRNS" and (key := _key(header, bytes(body))):
                    position = end
                    continue
                kept.append(view[position:end])
        position = end
    if len(header) != 13 or not stream:
        raise Rejected(DAMAGED)
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    if width * height > max_pixels:
        raise Rejected(TOO_LARGE)
    _check_stream(stream, _length_of_rows(width, height, header))
    kept.append(_chunk(b"IEND", b""))
    return Png(b"".join(kept), profile, header[8], key)


def _is_short_text(name: bytes, body: memoryview) -> bool:
    if name not in (b"tEXt", b"zTXt", b"iTXt") or not bytes(body[:32]).startswith(TEXTS):
        return False
    if name == b"zTXt":
        return _unpacked(bytes(body).partition(b"\0")[2][1:], LARGEST_TEXT) is not None
    return len(body) <= LARGEST_TEXT


def _unpacked(packed: bytes, most: int) -> bytes | None:
    """None where it is broken, or more than that."""
    with contextlib.suppress(zlib.error):
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(packed, most)
        return content if unpacker.eof else None
    return None


def _chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(body, zlib.crc32(name)).to_bytes(4, "big")


def _key(header: bytes, body: bytes) -> tuple[int, ...] | None:
    """Of grey, and of colours in 16 bits, where Pillow compares the key with pixels that have been scaled to
    8."""
    if len(header) != 13 or not (header[9] == 0 or (header[9] == 2 and header[8] == 16)):
        return None
    if len(body) < 2 * CHANNELS[header[9]]:
        raise Rejected(DAMAGED)
    return tuple(
        int.from_bytes(body[i : i + 2], "big") & ((1 << header[8]) - 1)
        for i in range(0, 2 * CHANNELS[header[9]], 2)
    )


def _length_of_rows(width: int, height: int, header: bytes) -> int:
    """Bytes that the rows have unpacked, each with its filter."""
    bits = header[8] * CHANNELS.get(header[9], 1)
    passes = ADAM7 if header[12] else [(0, 0, 1, 1)]
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)


def _check_stream(pieces: list, wanted: int):
    """Unpacks it, without keeping anything, up to the rows' end and the checksum behind them."""
    unpacker, got = zlib.decompressobj(), 0
    for piece in pieces:
        while piece and not unpacker.eof:
            try:
                # Before the end is reached `got` cannot tell whether there is one: so one byte more than is
                # wanted.
                got += len(unpacker.decompress(piece, min(AT_ONCE, max(1, wanted + 1 - got))))
            except zlib.error as error:
                raise Rejected(DAMAGED) from error
            if got > wanted:  # more than the image has: what else there is, nobody looks at
                return
            piece = unpacker.unconsumed_tail
    if got < wanted:
        raise Rejected(TRUNCATED)
