"""Draws sample pictures: `python -m daemon.loader.samples FOLDER COUNT [--seed N]`.

They lie in a folder for each kind of drawing, in several file formats and colour modes, one of each that takes care:
see-through, with a palette, grey, and turned by its EXIF orientation. The same seed draws the same pictures.
"""

import argparse
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Draw = Callable[[ImageDraw.ImageDraw, int, int, Colour, random.Random], None]

SIZES = ((320, 240), (640, 480), (480, 640), (800, 600), (512, 512), (1600, 1200))
_TURNED = 6
"""EXIF orientation: turned by a quarter."""
_ORIENTATION = 0x0112


def circles(pen: ImageDraw.ImageDraw, width: int, height: int, ink: Colour, dice: random.Random) -> None:
    """Discs here and there."""
    for _ in range(dice.randint(3, 9)):
        x, y, radius = dice.random() * width, dice.random() * height, dice.uniform(0.06, 0.2) * min(width, height)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_shade(ink, dice))


def stripes(pen: ImageDraw.ImageDraw, width: int, height: int, ink: Colour, dice: random.Random) -> None:
    """Upright bars."""
    step = width / dice.randint(5, 14)
    for number in range(math.ceil(width / step)):
        pen.rectangle((number * step, 0, (number + 0.5) * step, height), fill=_shade(ink, dice))


def squares(pen: ImageDraw.ImageDraw, width: int, height: int, ink: Colour, dice: random.Random) -> None:
    """A chequered board."""
    side = min(width, height) / dice.randint(4, 9)
    for row in range(math.ceil(height / side)):
        for column in range(row % 2, math.ceil(width / side), 2):
            pen.rectangle((column * side, row * side, (column + 1) * side, (row + 1) * side), fill=ink)


def stars(pen: ImageDraw.ImageDraw, width: int, height: int, ink: Colour, dice: random.Random) -> None:
    """Five-pointed stars."""
    for _ in range(dice.randint(2, 7)):
        x, y, radius = dice.random() * width, dice.random() * height, dice.uniform(0.1, 0.25) * min(width, height)
        angles = [math.pi * point / 5 for point in range(10)]
        reach = [radius if point % 2 == 0 else radius * 0.4 for point in range(10)]
        edge = [(x + r * math.sin(a), y - r * math.cos(a)) for a, r in zip(angles, reach, strict=True)]
        pen.polygon(edge, fill=_shade(ink, dice))


def rings(pen: ImageDraw.ImageDraw, width: int, height: int, ink: Colour, dice: random.Random) -> None:
    """Rings about one centre."""
    x, y = width * dice.uniform(0.3, 0.7), height * dice.uniform(0.3, 0.7)
    step = min(width, height) / dice.randint(12, 24)
    for number in range(1, 12):
        radius = number * step
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=ink, width=max(2, int(step / 2)))


def waves(pen: ImageDraw.ImageDraw, width: int, height: int, ink: Colour, dice: random.Random) -> None:
    """Waves across the picture."""
    length, lines = dice.uniform(0.15, 0.5) * width, dice.randint(4, 10)
    for line in range(lines):
        middle, swing = height * (line + 0.5) / lines, height / lines * 0.4
        curve = [(x, middle + swing * math.sin(2 * math.pi * x / length)) for x in range(0, width + 8, 8)]
        pen.line(curve, fill=_shade(ink, dice), width=max(3, height // 60))


DRAWINGS: tuple[Draw, ...] = (circles, stripes, squares, stars, rings, waves)


def draw(drawing: Draw, size: tuple[int, int], dice: random.Random) -> Image.Image:
    """One picture, RGB: a drawing over a background that runs from one colour to another."""
    width, height = size
    picture = _background(size, _colour(dice), _colour(dice))
    drawing(ImageDraw.Draw(picture), width, height, _colour(dice), dice)
    return picture


def save(picture: Image.Image, stem: Path, number: int) -> Path:
    """Write the picture in the format whose turn it is; where to."""
    name, path = _KINDS[number % len(_KINDS)], stem
    match name:
        case "rgba.png":
            alpha = Image.linear_gradient("L").resize(picture.size)
            picture.putalpha(alpha)
        case "palette.gif" | "palette.png":
            picture = picture.quantize(64)
        case "grey.jpg":
            picture = picture.convert("L")
        case "turned.jpg":
            return _save_turned(picture, path.with_name(f"{path.name}-{name}"))
        case "cmyk.jpg" | "cmyk.tif":
            picture = picture.convert("CMYK")
    target = path.with_name(f"{path.name}-{name}")
    picture.save(target)
    return target


_KINDS = (
    "plain.jpg", "plain.png", "rgba.png", "palette.gif", "plain.webp", "grey.jpg", "turned.jpg", "plain.bmp",
    "plain.tif", "palette.png", "plain.jpg", "cmyk.jpg", "plain.jpg",
)  # fmt: skip


def _save_turned(picture: Image.Image, target: Path) -> Path:
    exif = Image.Exif()
    exif[_ORIENTATION] = _TURNED
    picture.transpose(Image.Transpose.ROTATE_90).save(target, exif=exif)
    return target


def _background(size: tuple[int, int], one: Colour, other: Colour) -> Image.Image:
    ramp = Image.linear_gradient("L").resize(size)
    return Image.composite(Image.new("RGB", size, one), Image.new("RGB", size, other), ramp)


def _colour(dice: random.Random) -> Colour:
    return dice.randrange(256), dice.randrange(256), dice.randrange(256)


def _shade(ink: Colour, dice: random.Random) -> Colour:
    red, green, blue = (max(0, min(255, part + dice.randint(-40, 40))) for part in ink)
    return red, green, blue


def make_samples(folder: Path, count: int, seed: int) -> list[Path]:
    """Draw so many pictures below the folder; their files."""
    dice = random.Random(seed)  # noqa: S311 - pictures, no secrets
    made = []
    for number in range(count):
        drawing = DRAWINGS[number % len(DRAWINGS)]
        home = folder / drawing.__name__
        home.mkdir(parents=True, exist_ok=True)
        picture = draw(drawing, dice.choice(SIZES), dice)
        made.append(save(picture, home / f"{number:04d}", number))
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="daemon.loader.samples", description="Draw sample pictures.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int, nargs="?", default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    make_samples(given.folder, given.count, given.seed)


if __name__ == "__main__":
    main()
