"""Hybrids and schedules.

Sums of losses with fixed weights, or with weights that change over the training.

    >>> import torch
    >>> from losses import build
    >>> logits, target = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0, 1]])
    >>> parts = [build(name)(logits, target) for name in ("dice", "cross_entropy")]
    >>> torch.equal(build("dice_ce")(logits, target), sum(parts))
    True
    >>> build({"use": "dice_focal", "gamma": 1})
    DiceFocalLoss(
      dice=1.0, focal=1.0, gamma=1, ...
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from ._interface import FollowsProgress, Loss, ReadsMaps
from ._options import choose, integer_or_none, number, options
from ._reading import Logits, Maps, Scalar, Target, Weight, no_autocast, read
from ._sums import RegionSums, Sums
from .building import build, in_suite, resolve, term
from .registry import LOSSES

Spec = str | dict[str, Any]
"""A loss as in a configuration (see `losses.build`)."""
PASSED = ("per", "smooth", "smooth_in", "background", "class_weights", "empty")
"""Options of an overlap loss that a hybrid takes too."""


class SumLoss(Loss):
    """sum_k w_k L_k(logits, target)

    terms: loss name -> weight, or -> {"weight": w, **options} for a loss with options, where
    "use" may name the loss so that the key is free: {"wide": {"weight": 1, "use": "tversky",
    "alpha": 0.3}}. Any configuration of `losses.build` is a term, sums too.
    Terms of the same sums over pixels share them. `maps` makes the maps of all terms that read
    maps: concatenated along the channels in the order of the terms, C for each.
    reduction: "none" is the loss of each image alone, (N,).
    """

    def __init__(self, terms: dict[str, float | dict[str, Any]], *, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        if not terms:
            raise ValueError("a sum needs at least one term")
        self.terms = dict(terms)
        self.weights: dict[str, float] = {}
        self.losses: dict[str, nn.Module] = {}
        for name, value in self.terms.items():
            weight, spec = term(name, value)
            self.weights[name] = number(f"the weight of {name!r}", weight)
            self.set_term(name, build(spec))

    @property
    def whole_batch(self) -> str | None:
        """The reason why a term has no value for each image."""
        terms = {name: loss for name, loss in self.losses.items() if isinstance(loss, Loss)}
        return next((f"{n!r}: {t.whole_batch}" for n, t in terms.items() if t.whole_batch), None)

    def set_term(self, name: str, loss: nn.Module) -> None:
        """Set the loss of a term; ValueError if it has no scalar value."""
        if isinstance(loss, Loss) and loss.reduction == "none":
            raise ValueError(f"reduction='none' is an option of the sum, not of its term {name!r}")
        self.losses[name] = loss
        self.add_module(f"term {name}".replace(".", ":"), loss)  # torch allows no dot

    def extra_repr(self) -> str:
        """List the weights."""
        return f"weights={self.weights}"

    def value(
        self,
        logits: Logits,
        target: Target,
        maps: Maps | None = None,
        weight: Weight | None = None,
    ) -> Scalar:
        """Return the weighted sum of the terms."""
        maps_of = {} if maps is None else self._split(maps)
        sums_of = self._shared_sums(logits, target, weight)
        given = {} if weight is None else {"weight": weight}
        total = None
        for name, loss in self.losses.items():
            if name in sums_of:
                value = loss.reduce(sums_of[name])
            elif name in maps_of:
                value = loss(logits, target, maps=maps_of[name], **given)
            else:
                value = loss(logits, target, **given)
            value = self.weights[name] * value
            total = value if total is None else total + value
        return total

    def _shared_sums(
        self, logits: Logits, target: Target, weight: Weight | None
    ) -> dict[str, Sums]:
        """Return the sums over pixels of the terms that are a formula of them alone."""
        groups = {}
        for name, loss in self.losses.items():
            if _is_formula(loss):
                groups.setdefault(loss.ignore_index, []).append(name)
        sums_of = {}
        for ignore_index, names in groups.items():
            kernel = RegionSums({t for name in names for t in self.losses[name].kernel.terms})
            with no_autocast(logits):
                sums = kernel(*read(logits, target, ignore_index, weight))
            sums_of |= {name: sums.only(self.losses[name].kernel.terms) for name in names}
        return sums_of

    @property
    def maps(self) -> Any:
        """Method that makes the maps of all terms that read maps; absent if none does."""
        if not self._mapped():
            raise AttributeError("maps")
        return self._maps

    @property
    def map_sets(self) -> int:
        """Number of maps per class."""
        return sum(self._map_sets().values())

    def _mapped(self) -> dict[str, ReadsMaps]:
        return {name: loss for name, loss in self.losses.items() if hasattr(loss, "maps")}

    def _map_sets(self) -> dict[str, int]:
        return {name: getattr(loss, "map_sets", 1) for name, loss in self._mapped().items()}

    def _maps(self, target: Target, classes: int | None = None) -> Maps:
        return torch.cat([loss.maps(target, classes) for loss in self._mapped().values()], 1)

    def _split(self, maps: Maps) -> dict[str, Maps]:
        """Return the maps of each term that reads maps."""
        sets = self._map_sets()
        if not sets or maps.shape[1] % self.map_sets:
            raise ValueError(
                f"maps must have {self.map_sets} times as many channels as the logits, "
                f"got shape {tuple(maps.shape)}"
            )
        classes = maps.shape[1] // self.map_sets
        return dict(zip(sets, maps.split([classes * k for k in sets.values()], 1), strict=True))

    def set_progress(self, t: float) -> None:
        """Set the progress of the training, 0 to 1, of every term that follows it."""
        following: list[FollowsProgress] = [
            loss for loss in self.losses.values() if hasattr(loss, "set_progress")
        ]
        for loss in following:
            loss.set_progress(t)


def _is_formula(loss: nn.Module) -> bool:
    """Return whether a loss is one of the suite's that is a formula of sums without maps."""
    return (
        in_suite(loss)
        and hasattr(loss, "reduce")
        and not hasattr(loss, "maps")
        and type(loss.kernel) is RegionSums
    )


class NamedSum(SumLoss):
    """A sum with a name and options.

    parts: loss -> weight, or -> settings, as `SumLoss` takes them. By default these values are the
    defaults of options: a part's weight is the option of the part's name, each other setting the
    option of its own name. A class with other options lists them in `defaults`, and `settings`
    computes the weights and settings of the parts. The options PASSED are those of the overlap
    part, unless they have another meaning here.
    ignore_index: of all parts, see `SegmentationLoss`.
    reduction: "none" is the loss of each image alone, (N,).
    """

    minimiser: ClassVar[str]
    parts: ClassVar[dict[str, float | dict[str, Any]]] = {}
    defaults: ClassVar[dict[str, Any]] = {}
    passed: ClassVar[dict[str, str]] = {}
    """Option -> the part that it is passed to."""

    def __init_subclass__(cls):
        """Derive the options from the parts, unless the class lists them."""
        if "parts" not in vars(cls):
            return
        if "defaults" not in vars(cls):
            parts = {name: _settings(part) for name, part in cls.parts.items()}
            cls.defaults = {name: part.pop("weight", 1.0) for name, part in parts.items()}
            cls.defaults |= {k: v for part in parts.values() for k, v in part.items()}
        cls.passed = {}
        for name in cls.parts:
            of_part = options(resolve(LOSSES[name].path))
            more = {k: of_part[k] for k in PASSED if k in of_part and k not in cls.defaults}
            cls.passed |= dict.fromkeys(more, name)
            cls.defaults |= more

    def __init__(self, *, ignore_index: int | None = None, reduction: str = "mean", **values):
        for name in values.keys() - self.defaults.keys():
            raise TypeError(f"{type(self).__name__} has no option {name!r}")
        values = self.defaults | values
        self.ignore_index = integer_or_none("ignore_index", ignore_index)
        for name, value in values.items():
            setattr(self, name, value)
        settings = self.settings(**{k: v for k, v in values.items() if k not in self.passed})
        for option, part in self.passed.items():
            settings[part][option] = values[option]
        common = {"ignore_index": ignore_index}
        terms = {n: _settings(p) | settings[n] | common for n, p in self.parts.items()}
        super().__init__(terms, reduction=reduction)

    def settings(self, **values) -> dict[str, dict[str, Any]]:
        """Return the weight and the settings of each part from the values of the options."""
        return {
            name: {key: values[name if key == "weight" else key] for key in _settings(part)}
            for name, part in self.parts.items()
        }

    extra_repr = Loss.extra_repr


def _settings(part: float | dict[str, Any]) -> dict[str, Any]:
    """Return a new dict of a term's settings, its weight included."""
    return {"weight": 1.0} | part if isinstance(part, dict) else {"weight": part}


class DiceCELoss(NamedSum):
    """dice L_Dice + cross_entropy L_CE

    at least 0. Source: Isensee et al., nnU-Net, 2021 (there the Dice part is minus the score).
    """

    minimiser = "between cross-entropy's q and Dice's 0 or 1"
    parts: ClassVar = {"dice": 1.0, "cross_entropy": 1.0}


class SquaredDiceCELoss(NamedSum):
    """squared_dice L_squared + cross_entropy L_CE

    at least 0.
    """

    minimiser = "between cross-entropy's q and squared Dice's min(1, q/d)"
    parts: ClassVar = {"squared_dice": 1.0, "cross_entropy": 1.0}


class DiceFocalLoss(NamedSum):
    """dice L_Dice + focal L_focal

    at least 0; both parts use the same probabilities.
    Source: Zhu et al., AnatomyNet, 2019.
    """

    minimiser = "between focal's and Dice's"
    parts: ClassVar = {"dice": 1.0, "focal": {"weight": 1.0, "gamma": 2.0}}


class DiceTopKLoss(NamedSum):
    """dice L_Dice + topk L_TopK

    at least 0. Source: Isensee et al., nnU-Net, 2021 (a variant of its trainer).
    """

    minimiser = "between TopK's and Dice's"
    parts: ClassVar = {"dice": 1.0, "topk": {"weight": 1.0, "fraction": 0.1}}


class ComboLoss(NamedSum):
    """alpha (-1/L) sum_i (beta y log p + (1 - beta) (1 - y) log(1 - p)) + (1 - alpha) L_Dice

    at least 0; with C > 1 beta is the weight of every class but 0. The authors subtract the Dice
    score; their loss is this one minus (1 - alpha).
    Source: Taghanaki et al., Combo loss, 2019.
    """

    minimiser = "between weighted cross-entropy's and Dice's"
    parts: ClassVar = {"focal": {"gamma": 0.0}, "dice": {}}
    defaults: ClassVar = {"alpha": 0.5, "beta": 0.5}

    def settings(self, alpha: float, beta: float) -> dict[str, dict[str, Any]]:
        """Return the settings of both parts."""
        self.alpha, self.beta = number("alpha", alpha, 0, 1), number("beta", beta, 0, 1)
        return {"focal": {"weight": alpha, "alpha": beta}, "dice": {"weight": 1 - alpha}}


class UnifiedFocalLoss(NamedSum):
    """weight L_focal + (1 - weight) (1 - TP / (TP + delta FN + (1 - delta) FP))^gamma,
    L_focal = -1/L sum_i sum_c a_c y_ic (1 - p_ic)^(1 - gamma) log p_ic

    at least 0; a_c is delta, and 1 - delta for the background (the symmetric variant).
    Source: Yeung et al., Unified focal loss, 2022.
    """

    minimiser = "between focal's and Tversky's"
    parts: ClassVar = {"focal": {}, "focal_tversky": {}}
    defaults: ClassVar = {"weight": 0.5, "delta": 0.6, "gamma": 0.5}

    def settings(self, weight: float, delta: float, gamma: float) -> dict[str, dict[str, Any]]:
        """Return the settings of both parts."""
        self.weight, self.delta = number("weight", weight, 0, 1), number("delta", delta, 0, 1)
        self.gamma = number("gamma", gamma, 0, 1, above=0)
        return {
            "focal": {"weight": weight, "gamma": 1 - gamma, "alpha": delta},
            "focal_tversky": {
                "weight": 1 - weight,
                "alpha": 1 - delta,
                "beta": delta,
                "gamma": 1 / gamma,
            },
        }


class ScheduledLoss(SumLoss):
    """(1 - s) L_first + s L_last, s = (t - begin) / (end - begin) clamped to [0, 1]

    t is the progress of the training, 0 to 1, as `set_progress` sets it; 0 before the first call.
    first, last: specifications of any losses.
    """

    minimiser = "that of `first`, then that of `last`"
    extra_repr = Loss.extra_repr

    def __init__(
        self,
        *,
        first: Spec = "cross_entropy",
        last: Spec = "dice",
        begin: float = 0.0,
        end: float = 1.0,
        reduction: str = "mean",
    ):
        self.first, self.last = first, last
        self.begin = number("begin", begin, 0, 1)
        self.end = number("end", end, 0, 1, above=self.begin)
        terms = {"first": _weighted(first, 1.0), "last": _weighted(last, 0.0)}
        super().__init__(terms, reduction=reduction)

    def set_progress(self, t: float) -> None:
        """Set both weights, and the progress of both losses."""
        super().set_progress(t)
        s = min(1.0, max(0.0, (t - self.begin) / (self.end - self.begin)))
        self.weights = {"first": 1 - s, "last": s}


class DiceBoundaryLoss(SumLoss):
    """(1 - a) L_region + a L_boundary, a from `start` to `end` over the training

    rebalance=False keeps the weight of L_region at 1: L_region + a L_boundary. start = end fixes
    a. May be negative, like the boundary loss. region: the specification of any loss.
    Source: Kervadec et al., Boundary loss for highly unbalanced segmentation, 2019.
    """

    minimiser = "that of `region`, moved to p = 1 where E[D] < 0"
    parts: ClassVar = {"boundary": {}}
    extra_repr = Loss.extra_repr

    def __init__(
        self,
        *,
        region: Spec = "generalized_dice",
        start: float = 0.01,
        end: float = 0.99,
        rebalance: bool = True,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ):
        self.region, self.ignore_index = region, integer_or_none("ignore_index", ignore_index)
        self.start, self.end = number("start", start, 0, 1), number("end", end, 0, 1)
        self.rebalance = choose("rebalance", rebalance, (True, False))
        region = _weighted(region, 1.0)
        if ignore_index is not None:
            region["ignore_index"] = ignore_index
        boundary = {"weight": start, "ignore_index": ignore_index}
        super().__init__({"region": region, "boundary": boundary}, reduction=reduction)
        self.set_progress(0.0)

    def set_progress(self, t: float) -> None:
        """Set both weights, and the progress of the region loss."""
        super().set_progress(t)
        a = self.start + (self.end - self.start) * min(1.0, max(0.0, t))
        self.weights = {"region": 1 - a if self.rebalance else 1.0, "boundary": a}


def _weighted(spec: Spec, weight: float) -> dict[str, Any]:
    """Return the specification of a loss as a term of a sum."""
    return {**({"use": spec} if isinstance(spec, str) else spec), "weight": weight}
