"""The stored example predictions of a run: probabilities as one 8-bit PNG. Loads no torch."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import Float
from PIL import Image


def encode(prob: Float[np.ndarray, "n k h w"]) -> bytes:
    """Return a PNG with one column per image and one row per class.

    >>> prob = np.array([0.0, 0.2, 1.0, 0.4]).reshape(1, 2, 1, 2)
    >>> (decode(encode(prob), (1, 2)) == prob).all()
    np.True_
    """
    pixels = (np.block([list(of_class) for of_class in prob.swapaxes(0, 1)]) * 255).round()
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def decode(png: bytes, size: tuple[int, int]) -> Float[np.ndarray, "n k h w"]:
    """Return the probabilities of `encode`, as multiples of 1 / 255.

    size: height and width of an image.
    """
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image)
    height, width = size
    return pixels.reshape(-1, height, pixels.shape[1] // width, width).transpose(2, 0, 1, 3) / 255
