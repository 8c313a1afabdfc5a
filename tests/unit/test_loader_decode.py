"""Decoding: exactly what a full decode gives, or the right reason."""

import random
import struct
import warnings
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageSequence

from daemon.errors import Reason
from daemon.loader.decode import decode, prepare
from daemon.loader.problem import LoadError
from daemon.loader.sniff import sniff
from tests.loading import SHARED, encoded, picture, wordy

SIZE = 56
MOST = 50_000_000
Array = NDArray[np.float64]


@pytest.fixture(autouse=True)
def prepared() -> Iterator[None]:
    """Limits as in a loader, which other tests of this process should not meet."""
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        prepare(MOST)
        yield
    Image.MAX_IMAGE_PIXELS = limit


def pixels(data: bytes, size: int = SIZE, *, srgb: bool = False) -> Array:
    flat = decode(data, size=size, max_pixels=MOST, srgb=srgb)
    return np.frombuffer(flat, np.uint8).reshape(size, size, 3).astype(np.float64)


def reference(image: Image.Image, size: int = SIZE) -> Array:
    """What a full decode gives, for a picture that is upright and opaque."""
    small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float64)


def reason(data: bytes, most: int = MOST) -> Reason:
    with pytest.raises(LoadError) as caught:
        decode(data, size=SIZE, max_pixels=most)
    return caught.value.reason


def cosine(one: Array, other: Array) -> float:
    """Of two pictures as the model sees them, scaled to -1 to 1."""
    a, b = (array.ravel() / 127.5 - 1 for array in (one, other))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("JPEG", {"quality": 90}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("TIFF", {"big_tiff": True}),
        ("AVIF", {}),
    ],
)
@pytest.mark.parametrize("shape", [(200, 150), (150, 200), (31, 30), (1, 1), (1, 300)])
def test_pixels_are_those_of_a_full_decode(kind: str, given: dict[str, object], shape: tuple[int, int]) -> None:
    data = encoded(kind, picture(shape), **given)
    with Image.open(BytesIO(data)) as plain:
        assert np.array_equal(pixels(data), reference(plain))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_opaque_modes_are_converted_as_pillow_does(mode: str) -> None:
    image = picture(mode="RGB").quantize(16) if mode == "P" else picture(mode=mode)
    data = encoded("TIFF", image)
    with Image.open(BytesIO(data)) as plain:
        assert plain.mode == mode
        assert np.array_equal(pixels(data), reference(plain))


def test_a_small_jpeg_is_not_drafted() -> None:
    data = encoded("JPEG", picture((4 * SIZE - 1, 4 * SIZE - 1)))
    with Image.open(BytesIO(data)) as plain:
        assert np.array_equal(pixels(data), reference(plain))


@pytest.mark.parametrize("shape", [(1601, 1203), (4000, 3000), (2047, 999)])
def test_a_drafted_jpeg_is_almost_that_of_a_full_decode(shape: tuple[int, int]) -> None:
    grain = Image.effect_noise(shape, 40).convert("RGB")
    data = encoded("JPEG", Image.blend(picture(shape), grain, 0.3), quality=92)
    with Image.open(BytesIO(data)) as plain:
        full = reference(plain, 224)
    drafted = pixels(data, 224)
    assert cosine(drafted, full) > 0.9995
    assert np.abs(drafted - full).mean() < 1.5


@pytest.mark.skipif(not SHARED.joinpath("photos").is_dir(), reason="no ../shared/photos beside the repository")
def test_drafted_photographs_keep_their_pixels() -> None:
    worst = 1.0
    for path in sorted(SHARED.joinpath("photos").rglob("*.jpg"))[::20]:
        with Image.open(path) as photograph:
            large = photograph.convert("RGB").resize((2400, 1800), Image.Resampling.BICUBIC)
        data = encoded("JPEG", large, quality=92)
        with Image.open(BytesIO(data)) as plain:
            worst = min(worst, cosine(pixels(data, 224), reference(plain, 224)))
    assert worst > 0.9995


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_pictures_are_put_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(kind, picture((80, 40)), exif=exif)
    with Image.open(BytesIO(data)) as plain:
        upright = _turned(plain.convert("RGB"), orientation if kind != "TIFF" else _left_over(plain))
    assert np.array_equal(pixels(data), reference(upright))
    level = pixels(encoded(kind, picture((80, 40))))
    assert (orientation == 1) == bool(np.abs(pixels(data) - level).mean() < 3)


def _left_over(plain: Image.Image) -> int:
    """Pillow turns a TIFF by itself as it loads it."""
    return int(plain.getexif().get(0x0112, 1))


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """By the table of the EXIF standard: where the first row and the first column of the file belong."""
    rows = np.asarray(image)
    turned = {
        1: rows,
        2: rows[:, ::-1],
        3: rows[::-1, ::-1],
        4: rows[::-1],
        5: rows.transpose(1, 0, 2),
        6: rows[::-1].transpose(1, 0, 2),
        7: rows[::-1, ::-1].transpose(1, 0, 2),
        8: rows[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    return Image.fromarray(np.ascontiguousarray(turned))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_is_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    plain = encoded("JPEG", picture((80, 40)))
    assert np.array_equal(pixels(encoded("JPEG", picture((80, 40)), exif=exif)), pixels(plain))


def test_broken_exif_is_ignored() -> None:
    plain = encoded("JPEG", picture((80, 40)))
    exif = b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(20)
    assert np.array_equal(pixels(encoded("JPEG", picture((80, 40)), exif=exif)), pixels(plain))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_transparency_is_over_white(kind: str) -> None:
    image = Image.new("RGBA", (40, 40), (200, 0, 0, 0))
    image.paste((0, 0, 200, 255), (0, 0, 20, 40))
    got = pixels(encoded(kind, image, **({"lossless": True} if kind == "WEBP" else {})))
    assert got[:, -5:].min() > 250
    assert np.abs(got[:, :5] - (0, 0, 200)).max() < 8


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_half_transparency_is_half_white(mode: str) -> None:
    grey = Image.merge(mode, [Image.new("L", (9, 9), 0)] * (len(mode) - 1) + [Image.new("L", (9, 9), 128)])
    assert np.abs(pixels(encoded("PNG", grey)) - 127).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(kind: str) -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    assert pixels(encoded(kind, image, transparency=1)).min() == 255
    assert np.abs(pixels(encoded(kind, image, transparency=0)) - (0, 255, 0)).max() == 0


def test_a_palette_of_alphas_is_blended() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 0, 0])
    assert np.abs(pixels(encoded("PNG", image, transparency=bytes([255, 128]))) - 127).max() <= 1


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (1, 2, 3)), ("L", 7)])
def test_a_transparent_colour_is_white(mode: str, colour: object) -> None:
    image = Image.new(mode, (8, 8), colour)  # type: ignore[arg-type]  # A number or a triple, as the mode wants.
    assert pixels(encoded("PNG", image, transparency=colour)).min() == 255


def test_cmyk_with_adobe_inversion_comes_out_right() -> None:
    image = Image.new("RGB", (40, 40), (200, 30, 60)).convert("CMYK")
    for kind in ("JPEG", "TIFF"):
        assert np.abs(pixels(encoded(kind, image)) - (200, 30, 60)).max() < 8


def test_sixteen_bits_keep_the_upper_eight() -> None:
    levels = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    want = reference(Image.fromarray((levels >> 8).astype(np.uint8)))
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(pixels(encoded(kind, Image.fromarray(levels))), want)


@pytest.mark.parametrize(
    ("low", "high", "darkest", "lightest"),
    [(0, 1, 0, 255), (0, 255, 0, 255), (100, 200, 100, 200), (0, 65535, 0, 255), (-10, 10, 0, 255), (0, 1e9, 0, 255)],
)
def test_floats_and_deep_integers_are_scaled(low: float, high: float, darkest: int, lightest: int) -> None:
    ramp = np.linspace(low, high, 64).reshape(8, 8)
    kinds = [np.float32] if high <= 1 or high - low < 50 else [np.float32, np.int32]
    for kind in kinds:
        got = pixels(encoded("TIFF", Image.fromarray(ramp.astype(kind))), 8)
        assert abs(got.min() - darkest) <= 1
        assert abs(got.max() - lightest) <= 1
        assert np.all(np.diff(got[:, :, 0].ravel()) >= 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3.4e38])
def test_floats_that_are_none_do_no_harm(value: float) -> None:
    samples = np.zeros((8, 8), np.float32)
    samples[0, 0] = value
    data = encoded("TIFF", Image.fromarray(samples))
    assert pixels(data).shape == (SIZE, SIZE, 3)


def test_lab_is_converted() -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(Image.new("RGB", (20, 20), (180, 60, 30)), to_lab)
    assert lab is not None
    assert np.abs(pixels(encoded("TIFF", lab)) - (180, 60, 30)).max() < 6


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (30, 30), colour) for colour in ("red", "green", "blue")]
    data = encoded(kind, frames[0], save_all=True, append_images=frames[1:])
    with Image.open(BytesIO(data)) as plain:
        assert len(list(ImageSequence.Iterator(plain))) == 3
    assert np.abs(pixels(data) - (255, 0, 0)).max() < 4


def test_profiles_are_used_when_asked() -> None:
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.new("RGB", (20, 20), (180, 60, 30))
    data = encoded("PNG", image, icc_profile=wide)
    assert np.abs(pixels(data, srgb=True) - pixels(data)).max() <= 2
    broken = encoded("PNG", image, icc_profile=b"no profile")
    assert np.array_equal(pixels(broken, srgb=True), pixels(broken))


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="pillow-heif is not installed")
def test_heic_is_decoded_when_the_package_is_there() -> None:
    data = encoded("HEIF", Image.new("RGB", (64, 64), (180, 60, 30)), quality=95)
    assert np.abs(pixels(data) - (180, 60, 30)).max() < 8
    assert reason(data[: len(data) // 2]) is Reason.TRUNCATED


def test_heic_is_refused_when_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    assert reason(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)) is Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Reason.EMPTY_BODY),
        (b"\0", Reason.NOT_AN_IMAGE),
        (b"<html><body>404</body></html>", Reason.NOT_AN_IMAGE),
        (b'{"error": "not found"}', Reason.NOT_AN_IMAGE),
        (b"%PDF-1.7\n", Reason.NOT_AN_IMAGE),
        (b"BMW is a car and this is a text about it.", Reason.NOT_AN_IMAGE),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100), Reason.NOT_AN_IMAGE),
        (b"RIFF\x10\0\0\0WAVEfmt ", Reason.NOT_AN_IMAGE),
        (bytes(1000), Reason.NOT_AN_IMAGE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Reason.UNSUPPORTED_FORMAT),
        (b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg>", Reason.UNSUPPORTED_FORMAT),
        (b"8BPS\0\1" + bytes(100), Reason.UNSUPPORTED_FORMAT),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", Reason.UNSUPPORTED_FORMAT),
        (b"P6\n2 2\n255\n" + bytes(12), Reason.UNSUPPORTED_FORMAT),
        (b"\xff\xd8", Reason.TRUNCATED),
        (b"\x89PNG", Reason.TRUNCATED),
        (b"GIF89", Reason.TRUNCATED),
        (b"RIFF\x10\0\0\0WE", Reason.TRUNCATED),
        (b"\xff\xd8\xff\xe0" + b"\0" * 1000, Reason.CORRUPT_IMAGE),
        (b"\xff\xd8\xff\xd9", Reason.CORRUPT_IMAGE),
        (b"\x89PNG\r\n\x1a\n" + b"\x01" * 1000, Reason.CORRUPT_IMAGE),
        (b"GIF89a" + b"\x05" * 1000, Reason.CORRUPT_IMAGE),
    ],
)
def test_reasons(data: bytes, expected: Reason) -> None:
    assert reason(data) is expected


@pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA", "JPEG2000", "DDS", "SGI", "PCX", "ICNS", "XBM", "MSP", "QOI"])
def test_pictures_in_other_formats_are_called_that(kind: str) -> None:
    mode = "1" if kind in {"XBM", "MSP"} else "RGB"
    shape = (64, 64) if kind == "ICNS" else (32, 16)
    assert reason(encoded(kind, picture(shape, mode))) is Reason.UNSUPPORTED_FORMAT


@cache
def files() -> dict[str, bytes]:
    """A file of each kind, large enough to be cut in many places."""
    image = Image.blend(picture((301, 203)), Image.effect_noise((301, 203), 60).convert("RGB"), 0.3)
    more = [image.rotate(90), image.rotate(180)]
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + bytes(3000)
    return {
        "jpeg": encoded("JPEG", image),
        "progressive": encoded("JPEG", image, progressive=True),
        "exif": encoded("JPEG", image, exif=exif),
        "drafted": encoded("JPEG", image.resize((900, 700))),
        "png": encoded("PNG", image),
        "palette": encoded("PNG", image.quantize(64)),
        "webp": encoded("WEBP", image),
        "lossless": encoded("WEBP", image, lossless=True),
        "moving": encoded("WEBP", image, save_all=True, append_images=more),
        "gif": encoded("GIF", image),
        "bmp": encoded("BMP", image),
        "tiff": encoded("TIFF", image),
        "lzw": encoded("TIFF", image, compression="tiff_lzw"),
        "tiff-jpeg": encoded("TIFF", image, compression="jpeg"),
        "big": encoded("TIFF", image, big_tiff=True),
        "avif": encoded("AVIF", image),
    }


@pytest.mark.parametrize("name", files())
def test_a_cut_file_is_truncated_wherever_it_is_cut(name: str) -> None:
    data = files()[name]
    dice = random.Random(name)
    # The last bytes of some formats say only that the picture has ended.
    cuts = [12, 16, 20, 30, 60, 100, len(data) - 30, *(dice.randrange(12, len(data) - 30) for _ in range(25))]
    assert {cut: reason(data[:cut]) for cut in cuts} == dict.fromkeys(cuts, Reason.TRUNCATED)


@pytest.mark.parametrize("name", files())
def test_a_damaged_file_gives_pixels_or_a_reason(name: str) -> None:
    whole = files()[name]
    dice = random.Random(name)
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 30)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            got: object = len(decode(bytes(data), size=SIZE, max_pixels=MOST))
        except LoadError as problem:
            got = problem.reason
        assert got in {
            SIZE * SIZE * 3,
            Reason.TRUNCATED,
            Reason.CORRUPT_IMAGE,
            Reason.TOO_MANY_PIXELS,
            Reason.UNSUPPORTED_FORMAT,
            Reason.NOT_AN_IMAGE,
        }


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    data = encoded("PNG", picture((100, 101)))
    assert reason(data, most=10_000) is Reason.TOO_MANY_PIXELS
    assert len(decode(encoded("PNG", picture((100, 100))), size=SIZE, max_pixels=10_000)) == SIZE * SIZE * 3


@pytest.mark.parametrize("shape", [(60_000, 60_000), (8000, 7000)])
def test_a_bomb_is_known_by_its_header(shape: tuple[int, int]) -> None:
    header = struct.pack(">IIBBBBB", *shape, 8, 2, 0, 0, 0)
    data = bytearray(encoded("PNG"))
    data[16:29] = header
    crc = struct.pack(">I", __import__("zlib").crc32(data[12:29]))
    data[29:33] = crc
    assert reason(bytes(data)) is Reason.TOO_MANY_PIXELS


def test_an_extreme_shape_takes_no_extreme_memory() -> None:
    data = encoded("PNG", Image.new("L", (2_000_000, 2), 77))
    assert np.abs(pixels(data) - 77).max() == 0


def test_texts_that_pillow_refuses_are_no_want_of_memory() -> None:
    assert reason(wordy()) is Reason.CORRUPT_IMAGE


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="pillow-heif is not installed")
def test_a_size_that_libheif_refuses_is_no_want_of_memory() -> None:
    # Cropped, so that its outer size is not that which counts as its pixels.
    data = encoded("HEIF", picture((64, 48)))
    at = data.index(b"ispe") + 8
    assert reason(data[:at] + struct.pack(">II", 65535, 65535) + data[at + 8 :]) is Reason.CORRUPT_IMAGE


def test_a_codec_that_says_in_words_that_it_got_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("out of memory error when reading image file")

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MemoryError):
        decode(encoded("PNG"), size=SIZE, max_pixels=MOST)


def test_a_lossless_jpeg_is_unsupported_and_not_corrupt() -> None:
    data = bytearray(encoded("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1] = 0xC3
    assert reason(bytes(data)) is Reason.UNSUPPORTED_FORMAT


def test_only_the_plugins_of_allowed_formats_are_there() -> None:
    import subprocess  # noqa: PLC0415 - a clean interpreter is the point
    import sys  # noqa: PLC0415 - as above

    program = "from daemon.loader.decode import prepare; prepare(1); from PIL import Image; print(*sorted(Image.OPEN))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {
        "AVIF",
        "BMP",
        "DIB",
        "GIF",
        "HEIF",
        "JPEG",
        "MPO",
        "PNG",
        "PPM",
        "TIFF",
        "WEBP",
    }


@pytest.mark.parametrize("path", [Path(__file__)])
def test_source_code_is_no_picture(path: Path) -> None:
    assert reason(path.read_bytes()) is Reason.NOT_AN_IMAGE


def test_comments_before_something_else_take_no_time() -> None:
    """The test's own limit of time is what this would run into: two to the power of their number."""
    assert sniff(b"<!---->" * 580 + b"x") is None
    found = sniff(b"<?xml version='1.0'?> <!-- a --> <!-- b --><!DOCTYPE svg PUBLIC 'x'> <svg width='1'>")
    assert found is not None
    assert (found.name, found.allowed) == ("SVG", False)
