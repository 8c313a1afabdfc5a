"""thumbnail: a small JPEG in the picture's own proportions, whatever the picture."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from daemon.errors import Reason
from daemon.loader.decode import make_thumbnail, prepare
from daemon.loader.problem import LoadError

MOST_PIXELS = 50_000_000
SLOT = 224 * 224 * 3


@pytest.fixture(autouse=True)
def prepared() -> None:
    prepare(MOST_PIXELS)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def small(data: bytes, side: int = 224, most: int = SLOT) -> Image.Image:
    made = make_thumbnail(data, side=side, most=most, max_pixels=MOST_PIXELS)
    assert made.startswith(b"\xff\xd8\xff")
    assert len(made) <= most
    image = Image.open(BytesIO(made))
    image.load()
    return image


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (224, 168)),
        ((480, 640), (168, 224)),
        ((100, 50), (100, 50)),
        ((5000, 2), (224, 1)),
        ((1, 1), (1, 1)),
    ],
)
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_it_keeps_the_proportions_and_enlarges_nothing(
    size: tuple[int, int], expected: tuple[int, int], form: str
) -> None:
    assert small(encoded(Image.new("RGB", size, (200, 30, 30)), form)).size == expected


def test_it_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert small(encoded(Image.new("RGB", (400, 200)), "JPEG", exif=exif)).size == (112, 224)


def test_what_is_see_through_lies_on_white() -> None:
    assert small(encoded(Image.new("RGBA", (50, 50), (0, 0, 0, 0)))).getpixel((25, 25)) == (255, 255, 255)


@pytest.mark.parametrize("side", [32, 96, 224, 256])
def test_even_noise_fits_into_a_slot(side: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (2 * side, 2 * side, 3), dtype=np.uint8)
    assert max(small(encoded(Image.fromarray(noise)), side=side, most=side * side * 3).size) == side


def test_what_does_not_fit_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    with pytest.raises(LoadError) as refused:
        make_thumbnail(encoded(Image.fromarray(noise)), side=200, most=500, max_pixels=MOST_PIXELS)
    assert refused.value.reason is Reason.TOO_LARGE


def test_a_broken_file_has_the_same_reason_as_ever() -> None:
    data = encoded(Image.new("RGB", (300, 300), (1, 2, 3)), "JPEG")
    for broken, reason in {
        data[:200]: Reason.TRUNCATED,
        b"<html>": Reason.NOT_AN_IMAGE,
        b"": Reason.EMPTY_BODY,
    }.items():
        with pytest.raises(LoadError) as refused:
            make_thumbnail(broken, side=224, most=SLOT, max_pixels=MOST_PIXELS)
        assert refused.value.reason is reason
