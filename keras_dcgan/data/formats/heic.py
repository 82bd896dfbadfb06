"""HEIC, which iPhones write: decoded by pillow-heif, where that is installed, in a process of its own. No
NumPy.

    image = decoded(content, max_pixels)     # a Pillow image, upright, with its profile in .info; raises Rejected

libheif has no time limit, and small files that keep it busy for minutes are easily made. A process can be
ended, and be given no more memory than the image may need.
"""

import importlib.util
import io
import os
import pathlib
import signal
import subprocess
import sys
import threading

from PIL import Image

from keras_dcgan.data.formats.kinds import DAMAGED, TOO_LARGE, Rejected

MISSING = "HEIC needs: pip install 'keras_dcgan[heic]'"
NOT_LOADED = "pillow-heif, which HEIC needs, does not load"
TOO_SLOW = "takes too long to decode"
NO_MEMORY = "no memory was left to decode it"
SECONDS, WAITING = (
    60,
    600,
)  # of a processor, which a photo takes one of; and, where nothing counts those or it sleeps, by the clock
BYTES_A_PIXEL, BYTES = 32, 2 << 30  # of memory, for the image and for everything else
one_at_a_time = threading.Lock()
COMMAND = "from keras_dcgan.data.formats import heic; raise SystemExit(heic.main())"


def is_installed() -> bool:
    return importlib.util.find_spec("pillow_heif") is not None


def loads() -> bool:
    """Whether it can be imported too, which takes a process of its own."""
    return subprocess.run([sys.executable, "-c", "import pillow_heif"], capture_output=True).returncode == 0


def decoded(content: bytes, max_pixels: int) -> Image.Image:
    try:
        return _decoded(content, max_pixels)
    except Rejected as error:
        if str(error) != NO_MEMORY:
            raise
    with one_at_a_time:  # beside many others it may have had too little
        return _decoded(content, max_pixels)


def _decoded(content: bytes, max_pixels: int) -> Image.Image:
    place = [str(pathlib.Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(place)}
    command = [sys.executable, "-c", COMMAND, str(max_pixels)]
    try:
        done = subprocess.run(command, input=content, capture_output=True, env=environment, timeout=WAITING)
    except OSError as error:  # no further process
        raise Rejected(NO_MEMORY) from error
    except subprocess.TimeoutExpired as error:
        raise Rejected(TOO_SLOW) from error
    if done.returncode and done.returncode == -getattr(signal, "SIGXCPU", 0):
        raise Rejected(TOO_SLOW)
    # By the system, short of memory.
    if done.returncode and done.returncode == -getattr(signal, "SIGKILL", 0):
        raise Rejected(NO_MEMORY)
    if done.returncode:
        said = done.stdout.decode(errors="replace")
        raise Rejected(said if said in (TOO_LARGE, NOT_LOADED) else DAMAGED)
    return Image.open(io.BytesIO(done.stdout), formats=["TIFF"])


def main() -> int:
    """stdin: HEIC. stdout: its primary image as TIFF without compression, or why not."""
    max_pixels = int(sys.argv[1])
    try:
        import resource

        most = BYTES_A_PIXEL * max_pixels + BYTES
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, ValueError, OSError):  # not on Windows, nor below a limit that is lower
        pass
    try:
        import pillow_heif
    except Exception:  # its library may be of another system
        sys.stdout.write(NOT_LOADED)
        return 1
    image = pillow_heif.open_heif(io.BytesIO(sys.stdin.buffer.read()), convert_hdr_to_8bit=True)
    if image.size[0] * image.size[1] > max_pixels:
        sys.stdout.write(TOO_LARGE)
        return 1
    picture = image.to_pillow()
    profile = picture.info.get("icc_profile")
    picture = picture.convert(picture.mode.upper().replace("RGBX", "RGB"))  # RGBa: weighed with its alpha
    picture.info.clear()
    file = io.BytesIO()
    picture.save(file, "TIFF", icc_profile=profile)
    sys.stdout.buffer.write(file.getbuffer())
    return 0
