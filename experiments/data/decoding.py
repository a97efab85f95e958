"""Decode image files that are not trusted: every failure is a ValueError with the file's path."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")
"""Formats that Pillow decodes without another program, whatever the file is called."""


def decode(path: Path, *, pixels: bool = True) -> Image.Image:
    """Return the image in a file: decoded, or without `pixels` only its header.

    ValueError names a file that is missing, damaged, of another format, of several images, of
    colours with more than 8 bits (Pillow drops the others), or too large (twice
    `PIL.Image.MAX_IMAGE_PIXELS`: a few bytes can claim any number of pixels).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                _refuse_loss(image)
                if pixels:
                    image.load()
                return image
    except Image.DecompressionBombError:
        raise ValueError(
            f"{path}: cannot be read as an image: it has more than {2 * Image.MAX_IMAGE_PIXELS} "
            "pixels; cut it and its masks into smaller images"
        ) from None
    except Exception as error:  # a damaged file can make a decoder raise almost anything
        words = str(error) or type(error).__name__
        raise ValueError(f"{path}: cannot be read as an image: {words}") from None


def _refuse_loss(image: Image.Image) -> None:
    """Raise ValueError if Pillow would drop images of a file, or bits of its colours."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a photograph with a preview
        raise ValueError(f"the file has {frames} images; allowed: one image")
    if not image.mode.startswith("I") and any(";16" in str(tile.args) for tile in image.tile):
        raise ValueError("the file has colours of 16 bits; allowed: colours of 8 bits")
