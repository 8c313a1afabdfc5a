"""What format bytes are in, where decoding would not tell."""

import struct

import pytest

from daemon.loader.sniff import sniff


@pytest.mark.parametrize(
    ("brands", "found"),
    [
        *(([brand], ("HEIF", True)) for brand in ("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs")),
        *(([brand], ("AVIF", True)) for brand in ("avif", "avis")),
        (["mif1", "miaf", "heic"], ("HEIF", True)),
        (["mif1", "heic", "avif"], ("AVIF", True)),
        (["mif1", "miaf"], ("HEIF", False)),
        (["msf1"], ("HEIF", False)),
        (["mp42", "isom"], None),
        (["isom", "mif1"], None),
    ],
)
def test_a_container_is_what_its_brands_say(brands: list[str], found: tuple[str, bool] | None) -> None:
    box = b"ftyp" + brands[0].encode() + bytes(4) + b"".join(brand.encode() for brand in brands[1:])
    # What comes after the box is no brand.
    seen = sniff(struct.pack(">I", len(box) + 4) + box + b"avifheic")
    assert (seen and (seen.name, seen.allowed)) == found
