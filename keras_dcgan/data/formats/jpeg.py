"""A JPEG as its decoder should see it: nothing but what the pixels need, and so that missing data are missed.
Stdlib only.

    jpeg = Jpeg(content)                            # raises Rejected("truncated") where parts of the image are not there
    images = [Image.open(stream) for stream in jpeg.streams]
    jpeg.check([...])                               # when they are decoded

In front of a marker libjpeg fills what is missing with grey and counts a warning, which Pillow does not pass
on. So it gets no marker there: it asks for more, and Pillow says "truncated".
"""

import io
import math
import re
from typing import BinaryIO

from keras_dcgan.data.formats.kinds import DAMAGED, NOT_SUPPORTED, TRUNCATED, Rejected

SOI, EOI, SOS, DHT, DRI = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD
SEQUENTIAL, PROGRESSIVE, ARITHMETIC = (0xC0, 0xC1), (0xC2, 0xCA), (0xC9, 0xCA)
FRAMES = {*range(0xC0, 0xD0)} - {DHT, 0xC8, 0xCC}
TABLES = {DHT, 0xCC, 0xDB, DRI}
MARKER = re.compile(
    rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL
)  # also the end of a scan's data; any number of \xff may precede
RESTART = re.compile(rb"\xff([\xd0-\xd7])")
# libjpeg reads this many bytes ahead of the last block; what stands behind the data it then skips.
AHEAD = 8
NOTHING = bytes(64)
# Decoded only where data are missing. Of nothing but ones there is no code, so that they end nothing; the
# other is anything else.
ONES, OTHERS = b"\xff\0" * AHEAD, b"\x5a\xa5\x3c\x66\xc3\x12\x9d\x71" * 2


class Jpeg:
    """content: all bytes of the file. Attributes: exif and profile (bytes, or None), streams."""

    exif: bytes | None = None
    profile: bytes | None = None

    def __init__(self, content: bytes):
        self._head, self._scans, self._frame, self._interval = [b"\xff\xd8"], [], None, 0
        self._read(content)
        if not self._frame or not self._scans:  # cut before the image begins, or no image at all
            raise Rejected(TRUNCATED if self._frame else DAMAGED)
        code, body = self._frame
        if code not in (*SEQUENTIAL, *PROGRESSIVE, *ARITHMETIC) or len(body) < 6 or body[0] != 8:
            raise Rejected(NOT_SUPPORTED.format("JPEG that is lossless, hierarchical or not of 8 bits"))
        if len(body) < 6 + 3 * body[5]:
            raise Rejected(DAMAGED)
        self._check_restarts()
        self._check_that_all_was_sent()
        self.streams = self._streams()

    def check(self, decoded: list[bytes]):
        """decoded: the pixels of each stream, after each has been read by its decoder."""
        if any(pixels != decoded[0] for pixels in decoded):
            raise Rejected(TRUNCATED)
        stream = self.streams[0]
        if isinstance(stream, InTwoParts) and stream.tell() <= stream.first:  # done long before the data were
            raise Rejected(DAMAGED)

    def _read(self, content: bytes):
        position, profile, has_end = 2, {}, False
        while found := MARKER.search(content, position):
            code, position = found[1][0], found.end()
            if code == EOI:
                has_end = True
                break
            length = int.from_bytes(content[position : position + 2], "big")
            if code in (SOI, 0x01) or length < 2:
                continue
            body = content[position + 2 : position + length]
            if len(body) < length - 2:
                raise Rejected(TRUNCATED)
            position += length
            segment = b"\xff" + found[1] + length.to_bytes(2, "big") + body
            if code == 0xE1 and body.startswith(b"Exif\0\0"):
                self.exif = body if self.exif is None else self.exif + body[6:]
            elif code == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
                profile.setdefault(body[12], body[14:])
            elif code in FRAMES or code in TABLES or _says_something(code, body):
                self._head.append(segment)
            if code in FRAMES and not self._frame:
                self._frame = code, body
            elif code == DRI and len(body) == 2:
                self._interval = int.from_bytes(body, "big")
            elif code == SOS and len(body) >= 4 and len(body) == 4 + 2 * body[0]:
                end = MARKER.search(content, position)
                stop = end.start() if end else len(content)
                data = content[position:stop].rstrip(b"\xff")
                self._scans.append((b"".join([*self._head, segment]), body, data, self._interval))
                self._head, position = [], stop
        if not has_end and self._scans and self._scans[-1][2].endswith(NOTHING):
            raise Rejected(TRUNCATED)  # in a file of its full size
        if profile:
            self.profile = b"".join(profile[number] for number in sorted(profile))

    def _check_restarts(self):
        """Where the data are in numbered pieces, none may be missing."""
        for _, scan, data, interval in self._scans:
            numbers = [number[0] & 7 for number in RESTART.findall(data)]
            wanted = math.ceil(self._blocks(scan[1 : 1 + 2 * scan[0] : 2]) / interval) - 1 if interval else 0
            in_order = [i % 8 for i in range(wanted)]
            if numbers[:wanted] != in_order or (numbers and not interval):
                raise Rejected(TRUNCATED if numbers == in_order[: len(numbers)] else DAMAGED)

    def _blocks(self, components: bytes) -> int:
        """Units that a scan of these components is counted in."""
        _, frame = self._frame
        height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
        factors = {frame[i]: (frame[i + 1] >> 4, frame[i + 1] & 15) for i in range(6, 6 + 3 * frame[5], 3)}
        across, down = (max(max(factor[axis] for factor in factors.values()), 1) for axis in (0, 1))
        h, v = factors.get(components[0], (1, 1)) if len(components) == 1 else (1, 1)
        if len(components) == 1:
            return math.ceil(math.ceil(width * h / across) / 8) * math.ceil(math.ceil(height * v / down) / 8)
        return math.ceil(width / (8 * across)) * math.ceil(height / (8 * down))

    def _check_that_all_was_sent(self):
        """Of a progressive JPEG that was cut, whole scans are missing."""
        code, frame = self._frame
        components = frame[6 : 6 + 3 * frame[5] : 3]
        missing = {
            component: [None] * 64 for component in components
        }  # bits that are still to come, of each coefficient
        for _, scan, _, _ in self._scans:
            first, last, precision = scan[-3:] if code in PROGRESSIVE else (0, 63, 0)
            for component in scan[1 : 1 + 2 * scan[0] : 2]:
                if component in missing:
                    missing[component][first : last + 1] = [precision & 15] * len(
                        missing[component][first : last + 1]
                    )
        for component, bits in missing.items():
            # Colours may do without detail, which then is not sent; an image does not.
            if bits[0] != 0 or any(bits) or (component == components[0] and None in bits):
                raise Rejected(TRUNCATED)

    def _streams(self) -> list[BinaryIO]:
        code, frame = self._frame
        if (
            code in ARITHMETIC
        ):  # these codes end of themselves, and libjpeg reads them at one go or not at all
            return [io.BytesIO(b"".join(head + data for head, _, data, _ in self._scans) + b"\xff\xd9")]
        if code in SEQUENTIAL and len(self._scans) == 1:
            head, _, data, _ = self._scans[0]
            return [InTwoParts(head + data + ONES, len(head) + max(0, len(data) - AHEAD))]
        # All scans are read before there is a pixel. If none needs what stands behind it, this can be
        # anything.
        fillings = (
            b"".join(head + data + filling for head, _, data, _ in self._scans) for filling in (ONES, OTHERS)
        )
        return [io.BytesIO(content + b"\xff\xd9") for content in fillings]


class InTwoParts(io.BytesIO):
    """Whoever reads gets no byte beyond the first part before all of that has been read."""

    def __init__(self, content: bytes, first: int):
        super().__init__(content)
        self.first = first

    def read(self, count: int | None = -1) -> bytes:
        left = self.first - self.tell()
        if left > 0:
            count = left if count is None or count < 0 else min(count, left)
        return super().read(count)


def _says_something(code: int, body: bytes) -> bool:
    """About colours (and the orientation, in XMP); the sizes are those without which it is not what it
    says."""
    if code == 0xE0:
        return body.startswith(b"JFIF\0") and len(body) >= 14
    if code == 0xEE:
        return body.startswith(b"Adobe") and len(body) >= 12
    return code == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0")
