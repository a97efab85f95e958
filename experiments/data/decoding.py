"""Decode image files that are not trusted: every failure is a ValueError with the file's path."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")
"""Formats that Pillow decodes without another program, whatever the file is called."""


def decode(path: Path, *, pixels: bool = True) -> Image.Image:
    """Return the image in a file: decoded, or without `pixels` only its header.

    ValueError names a file that is missing, damaged, of another format or too large (twice
    `PIL.Image.MAX_IMAGE_PIXELS`: a few bytes can claim any number of pixels).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if pixels:
                    image.load()
                return image
    except Exception as error:  # a damaged file can make a decoder raise almost anything
        words = str(error) or type(error).__name__
        raise ValueError(f"{path}: cannot be read as an image: {words}") from None
