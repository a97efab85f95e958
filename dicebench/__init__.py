"""Segmentation losses (`dicebench.losses`), and the suite that compares them (``dicebench run``).

    from dicebench.losses import DiceLoss

The losses need torch only; losses that read maps also need NumPy and SciPy, the extra `maps`. The
suite is the extra `suite`.
"""

import sys
from pathlib import Path

__version__ = "0.1.0"

HOME = Path(__file__).parent
"""Folder of the packages, the Snakefile and the configurations."""
if not (HOME / "losses").is_dir():  # the repository
    HOME = HOME.parent
    __path__.append(str(HOME))

# A process of the suite has the losses as `losses`. A custom loss then gets the same classes.
suite = sys.modules.get("losses")
if suite and Path(getattr(suite, "__file__", None) or "").parent == HOME / "losses":
    losses = sys.modules["dicebench.losses"] = suite
