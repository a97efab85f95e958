"""At threshold 0.5 cross-entropy is worse than soft Dice under label noise.

Measured as the Dice score of Dice minus that of cross-entropy, both at 0.5, with the most jitter of
the labels' boundaries: the published noise deforms masks without a bias. Here the test labels are
true. The smallest difference is the margin of the claim on the tuned threshold, 0.02.
"""

from analysis.claims import Claim, Plain, jittered

CLAIM = Claim(
    title="At threshold 0.5 cross-entropy is worse than Dice under label noise",
    order=91,
    against="cross_entropy",
    unit="DSC",
    smallest=0.02,
    says="Dice score of {loss} minus that of {against}, with the most jitter of the labels",
    plain=Plain(
        "With jittered labels {loss} beats {against}",
        "With jittered labels {loss} falls behind {against}",
        "With jittered labels {loss} does not beat {against}",
    ),
    weights=jittered,
    source="Nordström et al., Marginal thresholding, 2023 (abstract)",
    published="CE at 0.5: systematically worse; 3 organs, 5 folds, 4 strengths",
)
