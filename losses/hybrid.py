"""Sums of losses, fixed or moving over the training."""

import torch
from torch import nn

from losses import build
from losses._base import RegionSums, SegmentationLoss, choose, no_autocast, number, read


class SumLoss(nn.Module):
    """sum_k w_k L_k(logits, target)

    terms: loss name -> weight, or -> {"weight": w, **options} for a loss with options, where
    "use" may name the loss so that the key is free: {"wide": {"weight": 1, "use": "tversky",
    "alpha": 0.3}}. Any configuration of `losses.build` is a term, sums too.
    Terms that read the same sums over pixels share them. Where terms read maps, `maps` gives those
    of all, concatenated along the channels in the order of the terms, C for each.
    """

    def __init__(self, terms):
        super().__init__()
        if not terms:
            raise ValueError("a sum needs at least one term")
        self.terms = dict(terms)
        self.weights, self.losses = {}, {}
        for name, term in self.terms.items():
            spec = dict(term) if isinstance(term, dict) else {"weight": term}
            self.weights[name] = number(f"the weight of {name!r}", spec.pop("weight", 1.0))
            if "sum" not in spec:
                spec.setdefault("use", name)
            self.losses[name] = build(spec)
            if isinstance(self.losses[name], nn.Module):
                self.add_module(f"term {name}".replace(".", "_"), self.losses[name])

    def extra_repr(self):
        return f"weights={self.weights}"

    def forward(self, logits, target, maps=None):
        given = {} if maps is None else self._split(maps)
        sums = self._shared_sums(logits, target)
        total = None
        for name, loss in self.losses.items():
            if name in sums:
                value = loss.reduce(sums[name])
            elif name in given:
                value = loss(logits, target, maps=given[name])
            else:
                value = loss(logits, target)
            value = self.weights[name] * value
            total = value if total is None else total + value
        return total

    def _shared_sums(self, logits, target):
        """The sums over pixels of the terms that are no more than a formula in them."""
        groups = {}
        for name, loss in self.losses.items():
            if hasattr(loss, "reduce") and type(loss.kernel) is RegionSums:
                groups.setdefault(loss.ignore_index, []).append(name)
        found = {}
        for ignore_index, names in groups.items():
            kernel = RegionSums({t for name in names for t in self.losses[name].kernel.terms})
            with no_autocast(logits):
                sums = kernel(*read(logits, target, ignore_index))
            found |= dict.fromkeys(names, sums)
        return found

    @property
    def maps(self):
        """maps(target, classes=None) of all terms that have them; no attribute where none has."""
        if not self._map_sets():
            raise AttributeError("maps")
        return self._maps

    @property
    def map_sets(self):
        """How many times C channels the maps have."""
        return sum(self._map_sets().values())

    def _map_sets(self):
        mapped = {name: loss for name, loss in self.losses.items() if hasattr(loss, "maps")}
        return {name: getattr(loss, "map_sets", 1) for name, loss in mapped.items()}

    def _maps(self, target, classes=None):
        return torch.cat([self.losses[n].maps(target, classes) for n in self._map_sets()], 1)

    def _split(self, maps):
        """The maps of each term that has them."""
        sets = self._map_sets()
        if not sets or maps.shape[1] % self.map_sets:
            raise ValueError(
                f"maps must have {self.map_sets} times as many channels as the logits, "
                f"got shape {tuple(maps.shape)}"
            )
        classes = maps.shape[1] // self.map_sets
        return dict(zip(sets, maps.split([classes * k for k in sets.values()], 1), strict=True))

    def set_progress(self, t):
        """Tell every term that t of the training, 0 to 1, is done."""
        for loss in self.losses.values():
            if hasattr(loss, "set_progress"):
                loss.set_progress(t)


class _NamedSum(SumLoss):
    """A sum with a name and options of its own."""

    def extra_repr(self):
        return SegmentationLoss.extra_repr(self)


class DiceCELoss(_NamedSum):
    """dice L_Dice + cross_entropy L_CE

    at least 0. Source: Isensee et al., nnU-Net, 2021 (whose Dice part is minus the score).
    """

    minimiser = "between cross-entropy's q and Dice's 0 or 1"

    def __init__(self, *, dice=1.0, cross_entropy=1.0, ignore_index=None):
        self.dice, self.cross_entropy, self.ignore_index = dice, cross_entropy, ignore_index
        super().__init__(_with(ignore_index, dice=dice, cross_entropy=cross_entropy))


class SquaredDiceCELoss(_NamedSum):
    """squared_dice L_squared + cross_entropy L_CE

    at least 0.
    """

    minimiser = "between cross-entropy's q and squared Dice's min(1, q/d)"

    def __init__(self, *, squared_dice=1.0, cross_entropy=1.0, ignore_index=None):
        self.squared_dice, self.cross_entropy = squared_dice, cross_entropy
        self.ignore_index = ignore_index
        super().__init__(
            _with(ignore_index, squared_dice=squared_dice, cross_entropy=cross_entropy)
        )


class DiceFocalLoss(_NamedSum):
    """dice L_Dice + focal L_focal

    at least 0; both parts over the same probabilities.
    Source: Zhu et al., AnatomyNet, 2019.
    """

    minimiser = "between focal's and Dice's"

    def __init__(self, *, dice=1.0, focal=1.0, gamma=2.0, ignore_index=None):
        self.dice, self.focal, self.gamma, self.ignore_index = dice, focal, gamma, ignore_index
        terms = _with(ignore_index, dice=dice, focal=focal)
        super().__init__(terms | {"focal": {**terms["focal"], "gamma": gamma}})


class DiceTopKLoss(_NamedSum):
    """dice L_Dice + topk L_TopK

    at least 0. Source: Isensee et al., nnU-Net, 2021 (a variant of its trainer).
    """

    minimiser = "between TopK's and Dice's"

    def __init__(self, *, dice=1.0, topk=1.0, fraction=0.1, ignore_index=None):
        self.dice, self.topk, self.fraction = dice, topk, fraction
        self.ignore_index = ignore_index
        terms = _with(ignore_index, dice=dice, topk=topk)
        super().__init__(terms | {"topk": {**terms["topk"], "fraction": fraction}})


class ComboLoss(_NamedSum):
    """alpha (-1/L) sum_i (beta y log p + (1 - beta) (1 - y) log(1 - p)) + (1 - alpha) L_Dice

    at least 0; with C > 1 beta is the weight of every class but 0. The authors subtract the Dice
    score, which is this less 1 - alpha.
    Source: Taghanaki et al., Combo loss, 2019.
    """

    minimiser = "between weighted cross-entropy's and Dice's"

    def __init__(self, *, alpha=0.5, beta=0.5, ignore_index=None):
        self.alpha, self.beta = number("alpha", alpha, 0, 1), number("beta", beta, 0, 1)
        self.ignore_index = ignore_index
        terms = _with(ignore_index, focal=alpha, dice=1 - alpha)
        super().__init__(terms | {"focal": {**terms["focal"], "gamma": 0.0, "alpha": beta}})


class UnifiedFocalLoss(_NamedSum):
    """weight L_focal + (1 - weight) (1 - TP / (TP + delta FN + (1 - delta) FP))^gamma,
    L_focal = -1/L sum_i sum_c a_c y_ic (1 - p_ic)^(1 - gamma) log p_ic

    at least 0; a_c is delta, and 1 - delta for the background (the symmetric variant).
    Source: Yeung et al., Unified focal loss, 2022.
    """

    minimiser = "between focal's and Tversky's"

    def __init__(self, *, weight=0.5, delta=0.6, gamma=0.5, ignore_index=None):
        self.weight, self.delta = number("weight", weight, 0, 1), number("delta", delta, 0, 1)
        self.gamma = number("gamma", gamma, 0, 1, above=0)
        self.ignore_index = ignore_index
        terms = _with(ignore_index, focal=weight, focal_tversky=1 - weight)
        terms["focal"] |= {"gamma": 1 - gamma, "alpha": delta}
        terms["focal_tversky"] |= {"alpha": 1 - delta, "beta": delta, "gamma": 1 / gamma}
        super().__init__(terms)


class ScheduledLoss(_NamedSum):
    """(1 - s) L_first + s L_last, s = (t - begin) / (end - begin) held within 0 and 1

    t is the progress of the training, 0 to 1, as `set_progress` tells it; 0 until it does.
    first, last: any losses as a configuration names them.
    """

    minimiser = "that of `first`, then of `last`"

    def __init__(self, *, first="cross_entropy", last="dice", begin=0.0, end=1.0):
        self.first, self.last = first, last
        self.begin = number("begin", begin, 0, 1)
        self.end = number("end", end, 0, 1, above=self.begin)
        super().__init__({"first": _term(first, 1.0), "last": _term(last, 0.0)})

    def set_progress(self, t):
        super().set_progress(t)
        s = min(1.0, max(0.0, (t - self.begin) / (self.end - self.begin)))
        self.weights = {"first": 1 - s, "last": s}


class DiceBoundaryLoss(_NamedSum):
    """(1 - a) L_region + a L_boundary, a from `start` to `end` over the training

    rebalance=False leaves L_region its whole weight: L_region + a L_boundary. start = end keeps a
    fixed. May be negative, as the boundary loss is. region: any loss as a configuration names it.
    Source: Kervadec et al., Boundary loss for highly unbalanced segmentation, 2019.
    """

    minimiser = "that of `region`, moved to p = 1 where E[D] < 0"

    def __init__(
        self,
        *,
        region="generalized_dice",
        start=0.01,
        end=0.99,
        rebalance=True,
        ignore_index=None,
    ):
        self.region, self.ignore_index = region, ignore_index
        self.start, self.end = number("start", start, 0, 1), number("end", end, 0, 1)
        self.rebalance = choose("rebalance", rebalance, (True, False))
        region = _term(region, 1.0)
        if ignore_index is not None:
            region["ignore_index"] = ignore_index
        super().__init__({"region": region, **_with(ignore_index, boundary=start)})
        self.set_progress(0.0)

    def set_progress(self, t):
        super().set_progress(t)
        a = self.start + (self.end - self.start) * min(1.0, max(0.0, t))
        self.weights = {"region": 1 - a if self.rebalance else 1.0, "boundary": a}


def _with(ignore_index, **weights):
    return {name: {"weight": w, "ignore_index": ignore_index} for name, w in weights.items()}


def _term(spec, weight):
    """A configuration of a loss as a term of a sum."""
    return {**({"use": spec} if isinstance(spec, str) else spec), "weight": weight}
