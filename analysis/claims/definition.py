"""The Dice loss is 1 - 2 sum(P Y) / ((sum P)^2 + (sum Y)^2), and is 0 at a perfect match.

Measured as minus the loss of a perfect prediction of 100 foreground pixels.
"""

import pandas as pd

from analysis.claims import Claim, Mechanism, Panel, Plain

ABOUT = "article_dice"


def caption(measured: pd.DataFrame) -> str:
    """Return the figure's caption with the measured losses at a perfect match."""
    rows = measured[(measured["loss"] == ABOUT) & (measured["quantity"] == "perfect")]
    values = ", ".join(f"{row.value:g} at n = {row.x:g}" for row in rows.itertuples())
    return (
        "Left: each loss at a perfect match of n pixels. The article's printed formula, "
        "1 - 2 sum(PY) / ((sum P)^2 + (sum Y)^2), is 1 - 1/n there"
        f"{f' ({values})' * bool(values)}, and Dice is 0. Right: the gradient of each loss, summed "
        "over the probabilities of an object of n pixels in a 64 x 64 image. The prediction is "
        "p = 0.5 on the object and 0.01 elsewhere."
    )


MECHANISM = Mechanism(
    quantity="perfect",
    x=100,
    unit="loss",
    condition="100 foreground pixels",
    smallest=-0.01,
    says="Minus the loss of {loss} at a perfect match of 100 pixels",
    sign=-1,
    against=False,
    panels=(
        Panel("perfect", "Foreground pixels n", "Loss at a perfect match", log_x=True),
        Panel(
            "gradient",
            "Foreground pixels n",
            "Gradient on the object,\n|sum of dL/dp|",
            log_x=True,
            log_y=True,
        ),
    ),
    caption=caption,
)

CLAIM = Claim(
    title="The printed formula is a Dice loss",
    order=8,
    plain=Plain(
        "The printed formula is 0 at a perfect match",
        "The printed formula is {size} at a perfect match, not 0",
    ),
    about=ABOUT,
    mechanism=MECHANISM,
)
