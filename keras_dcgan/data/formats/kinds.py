"""What a file is, told by its first bytes and never by its name. Stdlib only.

kind(head)      # "PNG", "JPEG" ... as Pillow has it, or raises Rejected("JPEG XL is not supported")
"""

import re

HEAD = 512  # bytes that are enough to tell

NOT_AN_IMAGE = "not an image"
PACKED = "an archive or table: not looked into among images"
TRUNCATED = "truncated"
DAMAGED = "damaged"
TOO_LARGE = "too large to decode safely"
NOT_SUPPORTED = "{} is not supported"
TIFF_NOT_SUPPORTED = "this kind of TIFF is not supported"
RAW_PHOTO = "a camera's raw data is not supported"

# How a file begins -> its format. RIFF, ftyp and BM hold other things too: see `kind`.
SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF
    b"MM\0+": "TIFF",
}
# Images that cannot be read, which is not the file's fault; the user is told what it is, whatever it is
# called.
OTHERS = {
    b"P7\n": "PAM",
    b"P7 332": "XV thumbnail",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n": "JPEG XL",
    b"\0\0\0\x0cjP  \r\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\xd8\xff\xf7": "JPEG-LS",
    b"8BPS": "PSD",
    b"\0\0\1\0": "ICO",
    b"\0\0\2\0": "CUR",
    b"icns": "ICNS",
    b"v/1\1": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"#?RGBE": "Radiance HDR",
    b"qoif": "QOI",
    b"DDS ": "DDS",
    b"gimp xcf": "XCF",
    b"\x8aMNG\r\n": "MNG",
    b"\x8bJNG\r\n": "JNG",
    b"FORM": "IFF",
    b"SIMPLE  =": "FITS",
    b"BPG\xfb": "BPG",
    b"FLIF": "FLIF",
    b"II\xbc\1": "JPEG XR",
    b"farbfeld": "farbfeld",
    b"\x59\xa6\x6a\x95": "Sun raster",
    b"\1\xda": "SGI",
    b"SDPX": "DPX",
    b"XPDS": "DPX",
    b"\xabKTX": "KTX",
    b"/* XPM": "XPM",
    b"AT&TFORM": "DjVu",
    b"\xd7\xcd\xc6\x9a": "WMF",
}
RAW_SIGNATURES = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")
ARCHIVES = (b"PAR1", b"ARROW1", b"PK\3\4", b"\x1f\x8b", b"7z\xbc\xaf")
GIT_LFS = b"version https://git-lfs.github.com/spec/"

AVIF_BRANDS = {b"avif", b"avis"}
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
BMP_HEADERS = (
    12,
    16,
    40,
    52,
    56,
    64,
    108,
    124,
)  # lengths of the second header: "BM" alone begins many a text
NETPBM = re.compile(rb"P([1-6f])[\s#]|PF[\s#]")


# Where neither is known, the name says more than "not an image" would.
UNSUPPORTED = frozenset(".heic .heif .jxl .jp2 .svg .psd .eps .pdf .exr .hdr .ico .tga .xcf".split())
RAW_PHOTOS = frozenset(
    ".cr2 .cr3 .nef .arw .raf .dng .orf .rw2 .pef .srw .raw".split()
)  # many begin as a TIFF, of a small preview


class Rejected(Exception):
    """This file cannot be used; the message is the reason, from a short list, so that reasons can be
    counted."""


def kind(head: bytes, extension: str = "") -> str:
    """-> JPEG, PNG, GIF, TIFF, WEBP, BMP, PPM, AVIF or HEIF. Raises Rejected. The extension (".jpg", or "")
    gives a reason only."""
    try:
        found = _kind(head)
    except Rejected as error:
        if str(error) == NOT_AN_IMAGE and extension in UNSUPPORTED | RAW_PHOTOS:
            raise Rejected(NOT_SUPPORTED.format(extension)) from error
        raise
    if found == "TIFF" and extension in RAW_PHOTOS:
        raise Rejected(NOT_SUPPORTED.format(extension))
    return found


def _kind(head: bytes) -> str:
    if head.startswith(RAW_SIGNATURES) or (head[:4] == b"II*\0" and head[8:10] == b"CR"):
        raise Rejected(RAW_PHOTO)
    for signature, name in OTHERS.items():
        if head.startswith(signature):
            raise Rejected(NOT_SUPPORTED.format(name))
    if head.startswith(b"\xff\xd8\0"):  # junk before the first marker, which decoders skip
        return "JPEG"
    for signature, name in SIGNATURES.items():
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in BMP_HEADERS:
        return "BMP"
    if found := NETPBM.match(head):
        if found[0][:2] == b"PF":
            raise Rejected(NOT_SUPPORTED.format("PFM in colours"))
        return "PPM"
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head.startswith(GIT_LFS):
        raise Rejected("a Git LFS pointer in place of the image")
    if head.startswith(ARCHIVES) or head[257:262] == b"ustar":
        raise Rejected(PACKED)
    raise Rejected(NOT_AN_IMAGE)


def _of_brands(head: bytes) -> str:
    """The files of MPEG's kind: HEIC and AVIF among films, music and raw photos."""
    end = max(16, min(int.from_bytes(head[:4], "big"), len(head)))
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, end - 3, 4))]
    if brands[0] == b"crx ":
        raise Rejected(RAW_PHOTO)
    if brands[0] in AVIF_BRANDS or (brands[0] in HEIF_BRANDS and AVIF_BRANDS & set(brands)):
        return "AVIF"
    if brands[0] in HEIF_BRANDS or {b"heic", b"heix"} & set(brands):
        return "HEIF"
    raise Rejected(NOT_AN_IMAGE)
