"""Cross-entropy with a term on the region's size mends imbalance (KL term).

Measured as the Dice score of cross-entropy with the KL term minus that of cross-entropy, at the
smallest foreground fraction. The smallest difference is that of the claim on imbalance, 0.05.
"""

from analysis.claims import Claim, Plain, rarest

CLAIM = Claim(
    title="Cross-entropy with a KL term on the size mends imbalance",
    order=132,
    about="ce_kl",
    against="cross_entropy",
    unit="DSC",
    smallest=0.05,
    says="Dice score of {loss} minus that of {against}, at the smallest foreground fraction",
    plain=Plain(
        "{loss} finds rare foreground better than {against}",
        "{loss} finds rare foreground worse than {against}",
        "{loss} finds rare foreground no better than {against}",
    ),
    weights=rarest,
    source="Liu et al., Do we really need Dice?, 2024 (abstract)",
    published="a KL term on the region's size mends imbalance",
)
