"""Predictions of a run, and their file: probabilities as 8-bit codes.

The bins of the codes end at every threshold that evaluation compares with, so that decoded
probabilities give the counts of the original ones at each threshold. Between thresholds the error
is at most 0.005. Of several classes, the most probable one can differ where two are that close.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

_TAIL = np.array([1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3])
THRESHOLDS = np.concatenate([_TAIL, np.arange(1, 100) / 100, 1 - _TAIL[::-1]])
"""Candidates for the tuned threshold; the tails are for losses that push p to 0 or 1."""


@dataclass(frozen=True)
class Predictions:
    """Probabilities of the classes in the images of a cell, float32.

    val: 0 at ignored pixels. train: None unless the cell has noisy labels and clean ones.
    """

    val: Float[np.ndarray, "val k h w"]
    test: Float[np.ndarray, "test k h w"]
    train: Float[np.ndarray, "train k h w"] | None = None


def _bins() -> tuple[np.ndarray, np.ndarray]:
    """Return the 255 inner edges of the codes' bins (low < p <= high) and a value in each bin.

    Evaluation compares in float64 and in float32. If float32 rounds a threshold up, that one
    number is above it in float64 only, so it gets a bin of its own.
    """
    rounded = THRESHOLDS.astype(np.float32).astype(float)
    edges = np.union1d(THRESHOLDS, rounded[rounded > THRESHOLDS])
    middles = np.arange(1, 99) / 100 + 0.005
    outermost = middles[np.argsort(-np.abs(middles - 0.5), kind="stable")]
    edges = np.union1d(edges, outermost[: 255 - len(edges)])
    ends = np.concatenate([[0], edges, [1]])
    return edges, ((ends[:-1] + ends[1:]) / 2).astype(np.float32)


EDGES, VALUES = _bins()


def encode(prob: Float[np.ndarray, "*pixels"]) -> UInt8[np.ndarray, "*pixels"]:
    """Return the 8-bit code of each probability.

    >>> prob = np.array([0.0, 0.3, 0.501, 1.0], np.float32)
    >>> bool(np.abs(decode(encode(prob)) - prob).max() < 0.005)
    True
    """
    return np.searchsorted(EDGES, prob, side="left").astype(np.uint8)


def decode(codes: UInt8[np.ndarray, "*pixels"]) -> Float[np.ndarray, "*pixels"]:
    """Return a probability (float32) in the bin of each code."""
    return VALUES[codes]


def save(predictions: Predictions) -> bytes:
    """Return predictions as the bytes of a safetensors file, with the edges of the codes' bins."""
    tensors = {name: encode(prob) for name, prob in vars(predictions).items() if prob is not None}
    return save_tensors(tensors | {"edges": EDGES})


def load(data: bytes) -> Predictions:
    """Return the decoded predictions; ValueError if the file was made for other thresholds."""
    tensors = load_tensors(data)
    if not np.array_equal(tensors.pop("edges"), EDGES):
        raise ValueError("the predictions were stored for other thresholds")
    return Predictions(**{name: decode(codes) for name, codes in tensors.items()})
