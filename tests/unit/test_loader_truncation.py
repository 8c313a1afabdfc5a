"""Where a picture's bytes end before the picture does, by its structure: whole files, and the same ones cut."""

from functools import cache

import pytest
from PIL import Image

from daemon.loader.truncation import ends_early
from tests.loading import encoded, picture

SHAPE = (41, 23)


@cache
def files() -> dict[str, tuple[str, bytes]]:
    """A small file of each kind, by what is peculiar to it."""
    image = picture(SHAPE)
    more = [image.rotate(90), image.rotate(180)]
    return {
        "jpeg": ("JPEG", encoded("JPEG", image)),
        "progressive": ("JPEG", encoded("JPEG", image, progressive=True)),
        "png": ("PNG", encoded("PNG", image)),
        "gif": ("GIF", encoded("GIF", image)),
        "moving": ("GIF", encoded("GIF", image, save_all=True, append_images=more, comment=b"a comment")),
        "webp": ("WEBP", encoded("WEBP", image)),
        "bmp": ("BMP", encoded("BMP", image)),
        "palette": ("BMP", encoded("BMP", image.convert("P"))),
        "tiff": ("TIFF", encoded("TIFF", image)),
        "grey": ("TIFF", encoded("TIFF", image.convert("L"), compression="tiff_lzw")),
        "big endian": ("TIFF", encoded("TIFF", Image.new("I;16B", SHAPE, 7))),
        "big": ("TIFF", encoded("TIFF", image, big_tiff=True)),
        "avif": ("AVIF", encoded("AVIF", image)),
    }


@pytest.mark.parametrize("name", files())
def test_a_whole_file_ends_where_it_should_and_so_does_one_with_more_behind_it(name: str) -> None:
    kind, data = files()[name]
    assert not ends_early(kind, data)
    if kind != "AVIF":  # What follows there is one more box.
        assert not ends_early(kind, data + bytes(100))


@pytest.mark.parametrize("name", [name for name in files() if name != "moving"])
def test_a_file_ends_early_wherever_it_is_cut_before_its_last_bytes(name: str) -> None:
    kind, data = files()[name]
    # The last bytes of some formats say only that the picture has ended.
    whole = [cut for cut in range(12, len(data) - 16) if not ends_early(kind, data[:cut])]
    assert whole == []


def test_of_a_moving_picture_the_first_one_counts() -> None:
    kind, data = files()["moving"]
    ends = [ends_early(kind, data[:cut]) for cut in range(12, len(data))]
    assert ends == sorted(ends, reverse=True)
    assert ends[-1] is False


def test_a_format_that_nobody_looks_into_is_never_called_cut() -> None:
    assert not ends_early("PSD", b"")
