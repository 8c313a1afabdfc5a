"""Any picture that Pillow can hold, as RGB of 8 bits: transparency over white, deep samples scaled down.

The rule for deep samples: 16-bit ones keep their upper eight bits; 32-bit and floating ones are taken for what their
largest value suggests (0 to 1, 0 to 255, 0 to 65535) and stretched from their least to their largest beyond that.
"""

from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageCms

_DEEP_16 = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_SEE_THROUGH = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture in mode RGB. Raises what Pillow raises for a mode that cannot be converted."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _DEEP_16:
        return _shallow_16(image).convert("RGB")
    if image.mode in {"I", "F"}:
        return _shallow_32(image).convert("RGB")
    if image.mode == "LAB":
        return ImageCms.applyTransform(image, _from_lab()) or image
    if image.mode in _SEE_THROUGH or "transparency" in image.info:
        return over_white(image)
    return image.convert("RGB")


def over_white(image: Image.Image) -> Image.Image:
    """The picture as it looks on white paper."""
    clear = image if image.mode == "RGBA" else image.convert("RGBA")
    paper = Image.new("RGB", clear.size, (255, 255, 255))
    paper.paste(clear, mask=clear.getchannel("A"))
    return paper


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture's colours brought from its embedded profile to sRGB; as it is where there is no usable profile."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in {"RGB", "CMYK", "L"}:
        return image
    try:
        given = ImageCms.ImageCmsProfile(BytesIO(profile))
        return ImageCms.profileToProfile(image, given, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


def _shallow_16(image: Image.Image) -> Image.Image:
    return image.convert("I").point(lambda sample: sample * (1 / 256)).convert("L")


def _shallow_32(image: Image.Image) -> Image.Image:
    low, high = (float(bound) for bound in image.getextrema()[:2])  # type: ignore[arg-type]  # One band: two numbers.
    factor, base = scale_of(low, high)
    return image.point(lambda sample: sample * factor + base).convert("L")


def scale_of(low: float, high: float) -> tuple[float, float]:
    """Factor and summand that bring samples between these bounds to 0 to 255."""
    if low >= 0 and high <= 1:
        return 255.0, 0.0
    if low >= 0 and high <= 255:
        return 1.0, 0.0
    if low >= 0 and 4095 < high <= 65535:
        return 1 / 256, 0.0
    factor = 255 / max(high - low, 1e-30)
    return factor, -low * factor


@lru_cache(maxsize=1)
def _from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
