"""Segmentation losses: called as ``loss(logits, target)``, they return a scalar.

`LOSSES` lists them all. Importing this package does not import torch; using a loss does.

    >>> import torch
    >>> loss = build("dice_ce")
    >>> logits, target = torch.zeros(2, 1, 8, 8, requires_grad=True), torch.ones(2, 8, 8).long()
    >>> loss(logits, target).backward()

Some losses offer more to a training loop, and a custom loss may too (see
`losses._interface.ReadsMaps` and `losses._interface.FollowsProgress`). ``loss.maps(target)`` makes
maps (N, C, *space) once per image, to be passed as ``loss(logits, target, maps=maps)``;
``loss.set_progress(t)`` sets a schedule to the progress t of the training, 0 to 1.

On a GPU move a loss with ``loss.to(device)``, and call it within `trusted` on targets that were
checked before: no call then waits for the GPU, except of `blob` and `hausdorff`.
"""

from ._trust import trusted
from .building import MULTI_LABEL, SUM, build, nearest, resolve
from .registry import LOSSES

_PATHS = {
    path.partition(":")[2]: path
    for path in (*(entry.path for entry in LOSSES.values()), SUM, MULTI_LABEL)
}
__all__ = ["LOSSES", "build", "nearest", "trusted", *_PATHS]


def __getattr__(name: str) -> type:
    """Import the class of a loss on first use."""
    if name in _PATHS:
        return resolve(_PATHS[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
