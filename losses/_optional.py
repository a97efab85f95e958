"""Packages that the losses need in part only: jaxtyping, NumPy and SciPy.

Annotations are jaxtyping's, or without it types of tensors of any shape. Maps are computed with
NumPy and SciPy.
"""

from types import ModuleType

try:
    from jaxtyping import Bool, Float, Num, Shaped
except ImportError:

    class Shaped:
        """A type of arrays: ``Shaped[Tensor, "n c"]`` is Tensor."""

        def __class_getitem__(cls, item: tuple[type, str]) -> type:
            return item[0]

    Bool = Float = Num = Shaped

try:
    import numpy as np
except ImportError:
    np = None

__all__ = ["Bool", "Float", "Num", "Shaped", "ndimage", "np"]


def ndimage() -> ModuleType:
    """Return the module scipy.ndimage; ImportError with the command that installs it."""
    try:
        from scipy import ndimage
    except ImportError as error:
        raise ImportError(
            "the maps of this loss need NumPy and SciPy; install them with: "
            f"pip install 'dicebench[maps]' ({error})"
        ) from error
    return ndimage
