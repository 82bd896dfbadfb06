"""The built-in images: cartoon portraits, so that `fit --data demo` can start before anybody has collected
images.

    paint(Face.random(random.Random(0)), 64)      # a Pillow image; `python -m keras_dcgan.demo ./imgs` writes many

`Face` says what a portrait looks like, `paint` draws it. Heads, eyes and mouths sit at the same place in
every image, colours come from short palettes and nothing is much thinner than two pixels of 64: a small GAN
learns such images in minutes.
"""

import dataclasses
import functools
import random
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageColor, ImageDraw

COUNT = 12_000  # that `--data demo` trains on: seen four times each, too seldom to overfit them
SUPERSAMPLING = 4  # drawn this many times larger, then reduced: Pillow's own shapes have hard edges


def outline(corners: str) -> np.ndarray:
    return np.array([corner.split(",") for corner in corners.split()], float)


def both(half: str) -> np.ndarray:
    """A symmetric outline from its right half, listed from the top down."""
    right = outline(half)
    return np.concatenate([right, right[right[:, 0] > 0][::-1] * (-1, 1)])


# Corners x,y of smooth outlines in 64ths of the image, x from the middle and y from the top, for a head 30
# units wide.
HAIR_BEHIND = {
    "afro": both("0,20 20,24 21,36 15,43 0,44"),
    "bun": both("0,1 5.5,3 6.5,8 4,13 0,14"),
    "bob": both("0,8 13,12 19,26 20.5,42 17,49 8,50"),
    "long": both("0,8 13,12 18.5,26 20,44 22,60 17,70 0,70"),
    "wavy": both("0,8 13,11 19,20 18.5,28 22.5,36 20.5,43 24,51 20,58 10,60"),
}
HAIR = {
    "crop": both("0,8.5 11.5,12 17,23 16,33 13,33 13,25 7,21"),
    "parted": outline(
        "-13,33 -16,33 -17,23 -11.5,12 0,8.5 11.5,12 17,23 16,33 13,33 13,24 8.5,18.5 3,22.5 -5,24.5 -13,27"
    ),
    "quiff": outline(
        "-13,32 -16,33 -17,22 -14,12 -5,7 5,3.5 14,6 17,14 17,24 16,33 13,32 12.5,23 5,18.5 -5,21.5 -12.5,23"
    ),
    "afro": both("0,2 14,6 22.5,18 23,32 18,40 13.4,36 12.8,25 6.5,20"),
    "bun": both("0,8.5 11.5,12 17,23 16,33 13,33 12.4,24 6,18"),
    "bob": both("0,8 11,10.5 17,21 18,35 15,38 13.3,29 9.5,26.5 0,26"),
    "long": both("0,8 11,10.5 17,21 18,38 15,43 13.4,31 9.5,23 0,15.5"),
    "wavy": outline(
        "-13,33 -15,40 -18,34 -17,21 -11,10.5 0,7.5 11,10.5 17,21 18,34 15,40 13,32 12,25 7,17.5 0,22 -8,25.5"
    ),
}
SHEEN = outline("-11.4,18.4 -9.6,14.2 -6.4,12.2 -0.2,11 0.2,12 -5.4,14 -7.6,15.6 -10.6,18.8")
BRIDGE = both("0,33 2,33.8 2,35.2 0,34.9")  # of the glasses
LASHES = outline(
    "-4.7,-0.8 -2.4,-3.7 0.3,-4.8 2.8,-4.3 5.3,-1.4 2.6,-2.7 0.2,-3.1 -2.2,-2.3"
)  # counted from the right eye
BROW = outline("-4,-7.5 0,-9 4.7,-7 4.5,-6 0,-6.8 -3.7,-6.5")  # likewise
# Outlines painted one over the other, each in a tone from -1 (darkest) to 1 (lightest) of the part's colour.
BEARDS = {
    "none": [],
    "full": [(both("0,42.6 5,42.4 7.5,45 12,42 15,34 13.4,46 6.7,53 0,54.5"), -0.12)],
    "moustache": [(both("0,42.4 3,41.8 6.8,45 4,46 0,44.8"), -0.12)],
}
MOUTHS = {
    "smile": [(both("0,46.7 3,46 5.4,44.4 3.6,47.8 0,49"), 0)],
    "grin": [(both("0,45.2 5.2,44.8 3.6,48.6 0,50"), -0.6), (both("0,45.4 4.3,45.2 3.6,47 0,47.3"), 1)],
    "calm": [(both("0,46 2.4,45.8 4.2,46.6 2.4,48 0,48.2"), 0)],
    "oh": [
        (both("0,44 2.1,45 2.9,47.2 2.1,49.4 0,50.4"), 0),
        (both("0,45.4 1.2,46 1.7,47.2 1.2,48.4 0,49"), -0.6),
    ],
}
COLLARS = {
    "none": [],
    "scarf": [(both("0,55.5 5.5,53 8.5,54.5 9,58.5 4.5,61 0,61.5"), 0)],
    "shirt": [(both("0,58.4 5.2,53 9.6,55.5 6,62 0,59.2"), 0)],
}
DOME = both("0,4 10,6 16.5,14 17.6,23 9,24 0,24")
HATS = {
    "none": [],
    "beanie": [
        (both("0,0.8 2.8,2 3.8,4.5 0,8"), 0.35),
        (DOME, 0),
        (both("0,17 10,17.6 17.4,19.6 18.4,23 17,25.2 9,23.6 0,23"), 0.35),
    ],
    "cap": [
        (DOME, 0),
        (both("0,5 7,8 9,20 0,21"), 0.35),
        (both("0,19 10,19.6 17.4,23 18.6,26.6 10,25.4 0,25"), -0.3),
    ],
    "brim": [
        (both("0,4 9,5 14,11 15.6,22 0,23"), 0),
        (both("0,15.5 15,17 15.8,22 0,23"), -0.3),
        (both("0,19.5 14,20 25,22.5 24.5,25 12,24 0,23.5"), 0),
    ],
}
WITH_A_BEARD = ("bald", "crop", "parted", "quiff", "afro")
UNDER_A_HAT = ("bald", "crop", "parted", "bob", "long", "wavy")


def one_of(options: str):
    """A field drawn from the words; a word that stands there twice comes twice as often."""
    return dataclasses.field(metadata={"pick": lambda rng: rng.choice(options.split())})


def between(low: float, high: float):
    return dataclasses.field(metadata={"pick": lambda rng: rng.uniform(low, high)})


@dataclasses.dataclass(frozen=True)
class Face:
    """All that differs between portraits, and what it may be. Lengths are in 64ths of the image."""

    background: str = one_of(
        "#f6cf5a #86c5e4 #a9d8c0 #c6aede #f2a5b5 #6fb3ad #fbe3b8 #8fa8df #ee8f78 #5674a8 #9fc27c"
    )
    skin: str = one_of("#ffe0cd #f8cba9 #eeb389 #d69664 #b27144 #885031 #6b4030")
    width: float = between(0.94, 1.04)  # of head, hair and hat; 1 is 30 units
    jaw: float = between(11.2, 13.5)
    haircut: str = one_of("bald crop crop parted quiff afro bun bob long wavy")
    hair: str = one_of("#2b2126 #47302a #70432a #a35f2c #d39a41 #f0d489 #c14a2b #9ba2ad #e06f98 #4c76c2")
    beard: str = one_of("none none full moustache")
    iris: str = one_of("#5e3a25 #3a2a26 #3d80b8 #4b935f #8d6b2e #62778d")
    eye_gap: float = between(6.6, 7.6)  # from the middle to a pupil
    eye_size: float = between(0.9, 1.1)
    brow_tilt: float = between(-0.2, 0.2)
    nose: float = between(1.6, 2.6)
    mouth: str = one_of("smile smile grin grin calm oh")
    glasses: str = one_of("none none none none none none none round round square dark")
    frame: str = one_of("#2e2a33 #7c3a2d #c08a35 #a83a55")
    hat: str = one_of("none none none none beanie cap brim")
    hat_colour: str = one_of("#c8434a #2f6c9e #f0b73e #3f8f74 #46424f #7c5295 #f3efe6")
    neckline: float = between(59, 66)  # from round to a V
    clothes: str = one_of("#34527a #d65d42 #2a9187 #e2b13f #6d4f7c #b03f59 #f5f1e8 #3b3e4a #6d974a #ef8ea3")
    collar: str = one_of("none none scarf shirt")
    collar_colour: str = one_of("#f5f1e8 #f0c14d #d9534f #3f7fae #4f9f86")

    @classmethod
    def random(cls, rng: random.Random) -> "Face":
        traits = {field.name: field.metadata["pick"](rng) for field in dataclasses.fields(cls)}
        if traits["haircut"] not in WITH_A_BEARD:
            traits["beard"] = "none"
        if traits["haircut"] not in UNDER_A_HAT:
            traits["hat"] = "none"
        return cls(**traits)


@functools.cache
def tone(colour: str, amount: float) -> tuple[int, ...]:
    """The colour, that much darker (down to -1) or lighter (up to 1). Dark is a warm red: black looks dirty
    on skin."""
    end = ImageColor.getrgb("#fffaf0" if amount > 0 else "#4a1528")
    return tuple(
        round(a + (b - a) * abs(amount)) for a, b in zip(ImageColor.getrgb(colour), end, strict=True)
    )


@functools.cache
def soft_spot(width: int, height: int, strength: float) -> Image.Image:
    """A mask that fades from `strength` in the middle to nothing at the sides."""
    # In Pillow's gradient the middles of the sides have 70 % of the corners' value.
    fade = [round(255 * strength * max(0, 1 - value / 255 / 0.7)) for value in range(256)]
    return Image.radial_gradient("L").resize((width, height)).point(fade)


# Catmull-Rom splines: eight points from each corner towards the next, from the four corners around them.
STEPS = np.linspace(0, 1, 8, endpoint=False)[:, None]
SPLINE = STEPS ** (0, 1, 2, 3) @ [[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]] / 2


class Canvas:
    """Takes positions and lengths in 64ths of the image, x from the middle and y from the top."""

    def __init__(self, size: int, background: str):
        self.unit = SUPERSAMPLING * size / 64
        self.image = Image.new("RGB", (SUPERSAMPLING * size,) * 2, background)
        self.pen = ImageDraw.Draw(self.image)

    def blob(self, corners: np.ndarray, colour, width: float = 1):
        around = (np.arange(len(corners))[:, None] + (-1, 0, 1, 2)) % len(corners)
        points = SPLINE @ (corners * (width, 1) + (32, 0))[around]
        self.pen.polygon((points * self.unit - 0.5).ravel().tolist(), colour)

    def blobs(self, rows, colour: str, width: float = 1):
        for corners, amount in rows:
            self.blob(corners, tone(colour, amount), width)

    def box(self, x, y, half_width, half_height) -> tuple[int, int, int, int]:
        left, top = round((32 + x - half_width) * self.unit), round((y - half_height) * self.unit)
        return (
            left,
            top,
            left + round(2 * half_width * self.unit) - 1,
            top + round(2 * half_height * self.unit) - 1,
        )

    def oval(self, x, y, half_width, half_height, colour):
        self.pen.ellipse(self.box(x, y, half_width, half_height), colour)

    def glow(self, x, y, half_width, half_height, colour, strength: float):
        left, top, right, bottom = self.box(x, y, half_width, half_height)
        self.image.paste(colour, (left, top), soft_spot(right - left + 1, bottom - top + 1, strength))


def paint_body(canvas: Canvas, face: Face):
    canvas.blob(both("0,54 7,54.5 16,57 23,62 26,72 0,72"), face.clothes)
    canvas.blob(both(f"0,40 5.6,44 5.6,53 7.5,57 0,{face.neckline}"), face.skin)
    canvas.oval(0, 50.5, 6, 4.5, tone(face.skin, -0.3))  # the shadow of the chin
    canvas.blobs(COLLARS[face.collar], face.collar_colour)


def paint_head(canvas: Canvas, face: Face):
    for side in (-1, 1):
        canvas.oval(side * 15 * face.width, 36, 2.8, 3.8, tone(face.skin, -0.12))
    canvas.blob(both(f"0,13 9.3,15.5 14.2,24 15,34 {face.jaw},44.5 6.3,51 0,52.5"), face.skin, face.width)
    canvas.glow(-2, 31, 12, 15, tone(face.skin, 0.6), 0.45)
    for side in (-1, 1):
        canvas.glow(side * 9, 41.5, 5.5, 4.5, "#f0504e", 0.36)
    canvas.oval(0, 40.2, face.nose, 1.5, tone(face.skin, -0.26))


def paint_eyes(canvas: Canvas, face: Face):
    size, ink = face.eye_size, "#2b1b24"
    for side in (-1, 1):
        x = side * face.eye_gap
        canvas.oval(x, 35, 4.2 * size, 4 * size, "white")
        canvas.oval(x, 35.3, 3.1 * size, 3.3 * size, face.iris)
        canvas.oval(x, 35.3, 1.9 * size, 2.1 * size, ink)
        canvas.oval(x - 1.1, 33.9, 1.2, 1.2, "white")
        canvas.blob(LASHES * (side, 1) + (x, 35), ink)
        canvas.blob(BROW @ [(side, face.brow_tilt), (0, 1)] + (x, 35), tone(face.hair, -0.35))


def paint_hair(canvas: Canvas, face: Face):
    corners = HAIR[face.haircut]
    # Its shadow is the hair itself, a little smaller and lower: it shows on the forehead and nowhere else.
    canvas.blob(corners * (0.95, 0.93) + (0, 2.85), tone(face.skin, -0.2), face.width)
    canvas.blob(corners, face.hair, face.width)
    canvas.blob(SHEEN, tone(face.hair, 0.25))


def paint_glasses(canvas: Canvas, face: Face):
    lens = tone(face.frame, -0.6) if face.glasses == "dark" else None
    half_height, corner = (5.8, 5.8) if face.glasses == "round" else (4.8, 2.5)
    for side in (-1, 1):
        box = canvas.box(side * face.eye_gap, 35.4, 6, half_height)
        canvas.pen.rounded_rectangle(box, corner * canvas.unit, lens, face.frame, round(1.5 * canvas.unit))
    canvas.blob(BRIDGE, face.frame)


def paint(face: Face, size: int = 64) -> Image.Image:
    """An RGB image of size x size."""
    canvas = Canvas(size, face.background)
    canvas.glow(0, 32, 40, 40, tone(face.background, 0.75), 0.75)
    if face.haircut in HAIR_BEHIND:
        canvas.blob(HAIR_BEHIND[face.haircut], tone(face.hair, -0.18), face.width)
    paint_body(canvas, face)
    paint_head(canvas, face)
    canvas.blobs(BEARDS[face.beard], face.hair, face.width)
    canvas.blobs(MOUTHS[face.mouth], "#b8304a")
    paint_eyes(canvas, face)
    if face.haircut in HAIR:
        paint_hair(canvas, face)
    if face.glasses != "none":
        paint_glasses(canvas, face)
    canvas.blobs(HATS[face.hat], face.hat_colour, face.width)
    return canvas.image.reduce(SUPERSAMPLING)


def faces(count: int, seed: int) -> Iterator[Face]:
    rng = random.Random(seed)
    return (Face.random(rng) for _ in range(count))


def draw(seed: int, size: int = 64) -> Image.Image:
    return paint(next(faces(1, seed)), size)


def pictures(count: int = COUNT, seed: int = 0, size: int = 64) -> np.ndarray:
    """uint8 of (count, size, size, 3). The first is draw(seed), and more of them begin with the same ones."""
    images = np.empty((count, size, size, 3), np.uint8)
    for image, face in zip(images, faces(count, seed), strict=True):
        image[:] = np.asarray(paint(face, size))
    return images
