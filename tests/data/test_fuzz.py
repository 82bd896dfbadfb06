"""Damaged files: whatever the bytes, `decode` gives an image or a reason. It does not crash, hang, or show
unwritten memory.

    pytest tests/data/test_fuzz.py                     # a slice: 100 of each format
    FUZZ=2000 pytest tests/data/test_fuzz.py           # all of it: 15 seconds on two cores

Each format is fuzzed in two processes of their own, so that a crash is seen as one. They run the same cases
with memory that the C library fills with different bytes beforehand (MALLOC_PERTURB_); were a pixel left
unwritten, their images would differ. A case that takes longer than five seconds ends its process with a
traceback.
"""

import faulthandler
import hashlib
import io
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, features

SEED = 20_240
COUNT = int(os.environ.get("FUZZ", 100))
ROOT = pathlib.Path(__file__).parent.parent.parent

# Kind -> how the valid files are saved: (mode, Pillow's format, options).
KINDS = {
    "jpeg": [
        ("RGB", "JPEG", {}),
        ("L", "JPEG", {}),
        ("CMYK", "JPEG", {}),
        ("RGB", "JPEG", {"progressive": True}),
    ],
    "png": [
        ("RGB", "PNG", {}),
        ("P", "PNG", {}),
        ("LA", "PNG", {}),
        ("I;16", "PNG", {}),
        ("RGBA", "PNG", {"save_all": True}),
    ],
    "webp": [("RGB", "WEBP", {}), ("RGBA", "WEBP", {"lossless": True})],
    "gif": [("P", "GIF", {}), ("RGB", "GIF", {"save_all": True})],
    "bmp": [("RGB", "BMP", {}), ("P", "BMP", {}), ("1", "BMP", {})],
    "tiff": [("RGB", "TIFF", {}), ("I;16", "TIFF", {}), ("F", "TIFF", {})]
    + [("RGB", "TIFF", {"compression": f"tiff_{name}"}) for name in ("lzw", "adobe_deflate", "jpeg")]
    + [("1", "TIFF", {"compression": "group4"})],
    "ppm": [("RGB", "PPM", {}), ("L", "PPM", {})],
    "avif": [("RGB", "AVIF", {})],
}


def valid_files(kind: str) -> list[bytes]:
    rows, columns = np.mgrid[:40, :56]
    colours = np.stack([rows * 6, columns * 4, (rows * columns) % 256], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for mode, name, options in KINDS[kind]:
        if mode in ("I;16", "F"):
            image = Image.fromarray((rows * columns * 20).astype(np.uint16 if mode == "I;16" else np.float32))
        else:
            image = Image.fromarray(colours).convert(mode)
        more = (
            {"exif": exif} if name in ("JPEG", "PNG", "WEBP", "TIFF") and "compression" not in options else {}
        )
        if options.get("save_all"):
            more["append_images"] = [image.transpose(Image.Transpose.ROTATE_180)]
        file = io.BytesIO()
        image.save(file, name, **options, **more)
        files.append(file.getvalue())
    return files


def corrupted(files: list[bytes], random: np.random.Generator) -> bytes:
    """Bits flipped, bytes overwritten, a piece cut out or doubled, the end lost, or the middle of one file in
    another."""
    content = bytearray(files[random.integers(len(files))])
    for _ in range(random.integers(1, 4)):
        place, length = random.integers(len(content)), int(random.integers(1, 64))
        match random.integers(7):
            case 0:
                content[place] ^= 1 << random.integers(8)
            case 1:  # the head is where the sizes and the tables are
                content[place % 64 % len(content)] = random.integers(256)
            case 2:
                content[place : place + length] = random.bytes(length)
            case 3:
                content[place : place + 4] = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")[
                    random.integers(3)
                ]
            case 4:
                del content[place : place + length]
            case 5:
                del content[max(1, place) :]
            case 6:
                other = files[random.integers(len(files))]
                content[place:place] = other[len(other) // 3 : len(other) // 3 + 8 * length]
    return bytes(content)


def outcomes(kind: str, count: int) -> list[str]:
    """Of each case a reason, or a digest of the image."""
    from keras_dcgan.data import decode

    files = valid_files(kind)
    results = []
    with decode.pillow_for_threads() as screen:
        for case in range(count):
            content = corrupted(files, np.random.default_rng((SEED, case)))
            faulthandler.dump_traceback_later(5, exit=True, file=screen)
            try:
                pixels, size = decode.decode(io.BytesIO(content), (16, 16), max_pixels=10**6)
                assert pixels.shape == (16, 16, 4) and pixels.dtype == np.uint8 and min(size) > 0
                results.append(hashlib.sha256(pixels.tobytes()).hexdigest())
            except decode.Rejected as error:
                results.append(str(error))
        faulthandler.cancel_dump_traceback_later()
    return results


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "avif" or features.check("avif")])
def test_damaged_bytes_give_a_picture_or_a_reason(kind):
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, kind, str(COUNT)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_PERTURB_": fill},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for fill in ("85", "170")
    ]
    ends = [process.communicate() for process in processes]
    assert [(process.returncode, errors) for process, (_, errors) in zip(processes, ends)] == [(0, "")] * 2
    one, other = (output.splitlines() for output, _ in ends)
    assert one == other and len(one) == COUNT
    reasons = {"truncated", "damaged", "not an image", "too large to decode safely"}
    pictures = [line for line in one if line not in reasons and not line.endswith(" is not supported")]
    assert all(len(line) == 64 for line in pictures)
    assert 0 < len(pictures) < COUNT  # the corruption is neither harmless nor hopeless


if __name__ == "__main__":
    print("\n".join(outcomes(sys.argv[1], int(sys.argv[2]))))
