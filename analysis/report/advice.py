"""The recommendation and ranks as text."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.figures import style
from analysis.scores.draws import NEAR


def frame(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per situation, scope, threshold, setting and loss."""
    return pd.DataFrame(
        {
            "situation": table["situation"],
            "datasets": table["scope"],
            "threshold": table["threshold"],
            "setting": table["setting"],
            "loss": table["loss"].map(style.name),
            "DSC": table["score"],
            "rank": table["rank"].map("{:.0f}".format).replace("nan", "–"),
            "95% interval": rank_intervals(table),
            "P(best)": table["best"],
            f"P(within {NEAR:g} of the best)": table["near"],
            "expected regret": table["regret"],
            "at most (95%)": table["bound"],
            "advised": table["advised"],
            "may be as good": table["may_be_as_good"],
            "fails on": table["fails_on"],
            "seeds": table["n"].astype(int),
        }
    )


def rank_intervals(rows: pd.DataFrame) -> list[str]:
    """Return the intervals of ranks as text.

    >>> rank_intervals(pd.DataFrame({"low": [1.0, np.nan], "high": [3.0, np.nan]}))
    ['1 to 3', '–']
    """
    pairs = zip(rows["low"], rows["high"], strict=True)
    return ["–" if np.isnan(low) else f"{low:.0f} to {high:.0f}" for low, high in pairs]
