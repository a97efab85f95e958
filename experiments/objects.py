"""An object: foreground pixels that touch at a side or a corner, and are of one instance."""

import numpy as np
from scipy import ndimage

TOUCHING = np.ones((3, 3), int)


def label(mask, instances=None):
    """(H, W) numbers of the objects from 1, 0 for background, and their areas (n,) in pixels.

    instances: (H, W) ids that tell objects apart which touch; None where nobody has told them.
    """
    if instances is None:
        numbers, count = ndimage.label(mask, TOUCHING)
    else:
        numbers, count = np.zeros(mask.shape, np.int32), 0
        for instance in np.unique(instances[mask > 0]):
            own, more = ndimage.label((mask > 0) & (instances == instance), TOUCHING)
            numbers[own > 0] = own[own > 0] + count
            count += more
    return numbers, np.bincount(numbers.ravel(), minlength=count + 1)[1:]
