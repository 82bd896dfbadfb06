"""Colours of any profile -> sRGB, which is what screens show and other decoders give. Pillow's ImageCms
(LittleCMS).

to_srgb(image, profile)       # profile: the bytes of an ICC profile as files carry them
"""

import functools
import io

import numpy as np
from PIL import Image, ImageCms

MODES = {
    "RGB": "RGB",
    "GRAY": "L",
    "CMYK": "CMYK",
}  # colour space of a profile -> mode of the images that it is for
# of 255: a profile that moves no colour further is sRGB under another name, and the pixels stay what they are
NEAR = 3


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An L, RGB, RGBA or CMYK image -> L, RGB, RGBA. A profile that is broken, or for images of another kind,
    changes nothing."""
    mode, transform = _transform(profile) if profile else (None, None)
    if mode and transform and _fits(mode, image):
        colours = image if image.mode == mode else image.convert("RGB").convert(mode)
        converted = transform.apply(colours)
        if image.mode == "RGBA":
            converted.putalpha(image.getchannel("A"))
        image = converted.convert("L") if image.mode == "L" else converted
    return image.convert("RGB") if image.mode == "CMYK" else image


def is_for_cmyk(profile: bytes | None) -> bool:
    return profile is not None and profile[16:20] == b"CMYK"


def _fits(mode: str, image: Image.Image) -> bool:
    if mode == "CMYK" or image.mode == "CMYK":
        return mode == image.mode
    return mode == "RGB" or image.mode == "L" or _is_grey(image)


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = (image.getchannel(band).tobytes() for band in "RGB")
    return red == green == blue


@functools.lru_cache(64)
def _transform(profile: bytes) -> tuple[str | None, ImageCms.ImageCmsTransform | None]:
    """-> the mode it is for and what converts such images, None where nothing is to be done."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = MODES[source.profile.xcolor_space.strip()]
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags
        )
        probe = _probe(mode)
        change = np.asarray(transform.apply(probe), int) - np.asarray(probe.convert("RGB"), int)
    except Exception:  # LittleCMS and Pillow may raise anything on damaged bytes; the pixels are still good
        return None, None
    return (mode, transform) if mode == "CMYK" or np.abs(change).max() > NEAR else (None, None)


def _probe(mode: str) -> Image.Image:
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[np.newaxis])
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3)).convert(mode)
