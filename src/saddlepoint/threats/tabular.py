"""Tables: features of different units, of which some may not move, some only one way, and some only by whole numbers."""

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tomli_w
import torch
from pydantic import BeforeValidator, field_validator
from torch import Tensor

from saddlepoint.core.config import Count, Radius, positional_record
from saddlepoint.core.errors import InputError
from saddlepoint.core.noise import Noise
from saddlepoint.core.threat import Batch, Bounds, Threat
from saddlepoint.ops import norms, projections
from saddlepoint.threats.parametric import shortest

WAYS = ("any", "up", "down", "never")


class Feature(NamedTuple):
    """What an attacker may do to one column.

    Attributes:
        name: for people.
        low: no change goes below it. A clean value beyond low or high may stay, or come back.
        high: no change goes above it.
        moves: "any" way, "up" or "down" only, or "never".
        integer: only whole numbers are possible.
        scale: what counts as a change of 1: a unit of cost, the spread of the column.
    """

    name: str = ""
    low: float = -math.inf
    high: float = math.inf
    moves: str = "any"
    integer: bool = False
    scale: float = 1.0

    __repr__ = tuple.__repr__  # plain text that makes a threat again

    def checked(self) -> "Feature":
        """The same, with numbers as floats, or a ValueError."""
        kinds = (self.name, str), (self.moves, str), (self.integer, bool)
        numbers = (self.low, self.high, self.scale)
        plain = all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers)
        if not plain or any(not isinstance(value, kind) for value, kind in kinds):
            raise ValueError(
                "features of a name, numbers low and high, moves, true or false for integer, and a number scale"
            )
        if self.moves not in WAYS:
            raise ValueError(f"a feature that moves {', '.join(WAYS)}")
        if not self.low <= self.high or not 0 < self.scale < math.inf:
            raise ValueError("features with low <= high and a finite scale above 0")
        return self._replace(low=float(self.low), high=float(self.high), scale=float(self.scale))


class Features(tuple[Feature, ...]):
    """All columns in order, and the file that says so, if one does."""

    path: str = ""

    @classmethod
    def of(cls, given: Any) -> "Features":
        """Features, plain rows of them, or the path of a file of them."""
        if isinstance(given, Features):
            return given
        if isinstance(given, str | Path):
            made = cls.of(_read(Path(given)))
            made.path = str(given)
            return made
        if not isinstance(given, Sequence):
            raise ValueError("a sequence of features, or the path of a file")
        try:
            return cls(Feature(*row).checked() for row in given)
        except TypeError:
            raise ValueError(f"features of at most {len(Feature._fields)} fields: {', '.join(Feature._fields)}") from None


def _read(path: Path) -> list[Feature]:
    """The features of a TOML or JSON file: a table each, in order, named after the feature."""
    try:
        text = path.read_text()
        tables = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ValueError(f"a file that can be read ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"a file of TOML, or of JSON if it ends in .json ({error})") from None
    if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) for table in tables.values()):
        raise ValueError("a file with one table a feature, such as [age] and below it moves = 'up'")
    known = Feature._fields[1:]
    unknown = [f"{key!r} of {name!r}" for name, table in tables.items() for key in table if key not in known]
    if unknown:
        raise ValueError(f"a file that says no more than {', '.join(known)} of a feature, and not {unknown[0]}")
    return [Feature(name, **table) for name, table in tables.items()]


@positional_record
class Tabular(Threat):
    """Change a row of a table at a cost of at most `eps`, where each feature moves only as it can in life.

    The change of a feature is measured in its own scale, so that years and euros add up. Theta is the change of the input
    itself, in its own units. Give the model the bounds of its widest column: those of the others are here. As text,
    "tabular:2,l1,features=loan.toml".

    Attributes:
        eps: radius of the scaled changes.
        norm: what it limits: the largest scaled change ("linf"), their sum ("l1"), or how many features change ("l0").
        changes: how many features may change, besides.
        features: one a feature of the input, or the path of a TOML or JSON file with a table each; none: all are free.

    A projection is the nearest point, in scaled units. With "l1" and integers or `changes`, where that is a knapsack, it is
    the nearest of the best few features, its integers rounded toward the clean value: inside, yet not always nearest.
    A step of less than half a unit does not move an integer, and under "l1" gradients leave integers alone where anything
    else can move: on tables with many of them trust a search, FeatureSearch.
    """

    eps: Radius
    norm: Literal["linf", "l1", "l0"] = "linf"
    changes: Count | None = None
    features: Annotated[Any, BeforeValidator(Features.of)] = Features()

    @field_validator("norm")
    @classmethod
    def _whole(cls, norm: str, info: Any) -> str:
        eps = info.data.get("eps", 0)
        if norm == "l0" and math.isfinite(eps) and eps != int(eps):
            raise ValueError(f"'linf' or 'l1' with eps={eps:g}, which is no whole number of features")
        return norm

    @field_validator("changes")
    @classmethod
    def _once(cls, changes: int | None, info: Any) -> int | None:
        if changes is not None and info.data.get("norm") == "l0":
            raise ValueError("None under l0, whose eps says how many may change")
        return changes

    @property
    def name(self) -> str:
        words = [shortest(self.eps), self.norm] if self.norm != "linf" else [shortest(self.eps)]
        words += [f"changes={self.changes}"] if self.changes else []
        if self.features:
            digest = hashlib.sha256(repr(tuple(self.features)).encode()).hexdigest()[:12]
            words += [f"features={self.features.path or digest}"]
        return f"tabular:{','.join(words)}"

    @property
    def reach(self) -> float:
        return self.eps

    def unbounded(self) -> "Tabular":
        return replace(self, eps=math.inf)

    def save(self, path: str | Path) -> "Tabular":
        """Write the features to a TOML or JSON file, and return the threat that names it."""
        usual = Feature()._asdict()
        tables = {f.name: {k: v for k, v in f._asdict().items() if k != "name" and v != usual[k]} for f in self.features}
        if len(tables) < len(self.features) or "" in tables:
            raise InputError("Features need different names to be written to a file. Name them: Feature('age').")
        try:
            Path(path).write_text(json.dumps(tables, indent=1) if Path(path).suffix == ".json" else tomli_w.dumps(tables))
        except OSError as error:
            raise InputError(f"Could not write {path} ({error}). Choose another path.") from error
        return replace(self, features=str(path))

    def zero(self, x: Batch) -> Tensor:
        return torch.zeros_like(x)

    def apply(self, x: Batch, theta: Tensor) -> Tensor:
        return x + theta

    def start(self, x: Batch, noise: Noise, bounds: Bounds) -> Tensor:
        low, high = self.room(x, bounds)
        scale, integer = self.column(x, "scale", 1.0), self.whole(x)
        features = low.shape[1]
        if self.norm == "l1":
            radius = torch.full_like(low[:, :1], self.eps).minimum((high.maximum(-low) / scale).sum(1, keepdim=True))
            exponential = -(1 - noise.uniform(features + 1, dtype=x.dtype)).log()
            part = exponential[:, :features] / exponential.sum(dim=1, keepdim=True)
            theta = radius * part * scale * noise.sign(features, dtype=x.dtype)
        else:
            half = 0.5 * integer  # so that the whole numbers at the ends are as likely as those between
            theta = low - half + noise.uniform(features, dtype=x.dtype) * (high - low + 2 * half)
        if (most := self.most(features)) < features:
            order = noise.uniform(features, dtype=torch.float64) + 2 * (low == high)
            theta = theta.masked_fill(order.argsort(dim=1).argsort(dim=1) >= most, 0)
        return self.project(x, theta.view_as(x), bounds)

    def project(self, x: Batch, theta: Tensor, bounds: Bounds) -> Tensor:
        low, high = self.room(x, bounds)
        clean, wanted, scale = x.flatten(1), theta.flatten(1), self.column(x, "scale", 1.0)
        near = self.nearest(clean, wanted, low, high)
        most = self.most(near.shape[1])
        if most < near.shape[1]:
            saved = near * (2 * wanted - near) / scale**2  # of the squared distance, by not staying at zero
            kept = torch.zeros_like(near, dtype=torch.bool).scatter(1, saved.topk(most, dim=1).indices, True)
            near, low, high = (value.masked_fill(~kept, 0) for value in (near, low, high))
        if self.norm == "l1" and math.isfinite(self.eps):
            outside = norms.l1(near / scale) > self.eps
            onto = projections.onto_l1(wanted / scale, self.eps, low / scale, high / scale) * scale
            near = torch.where(outside[:, None], self.inward(clean, onto), near)
        return rounded_inward(clean, near, self.whole(x)).view_as(x)

    def steepest(self, x: Batch, theta: Tensor, gradient: Tensor, bounds: Bounds) -> Tensor:
        low, high = self.room(x, bounds)
        scale = self.column(x, "scale", 1.0)
        slope, at = gradient.flatten(1) * scale, theta.flatten(1)
        slope = slope.masked_fill(((at <= low) & (slope > 0)) | ((at >= high) & (slope < 0)), 0)  # where there is room yet
        if self.norm == "l1":  # a step on one feature, too short to move an integer, would be no step at all
            smooth = slope.masked_fill(self.whole(x), 0)
            slope = torch.where(smooth.any(1, keepdim=True), smooth, slope)
        size, most = slope.abs(), self.most(slope.shape[1])
        few = math.ceil(slope.shape[1] / 100) if self.norm == "l1" else most
        if 0 < few < slope.shape[1]:
            slope = slope * (size >= size.topk(few, dim=1).values[:, -1:])
        if self.norm == "linf":
            step = slope.sign()
        elif self.norm == "l1":
            step = norms.unit(slope.sign(), norms.l1(slope.sign()))
        else:
            step = norms.unit(slope, norms.linf(slope))
        return (-step * scale).view_as(x)

    def size(self, x: Batch, x_adv: Batch, theta: Tensor | None = None) -> Tensor:
        change, after = (x_adv - x).flatten(1), x_adv.flatten(1)
        changed = change != 0
        low, high = (self.column(x, key, way) for key, way in (("low", -math.inf), ("high", math.inf)))
        rounding = 1e-6 * after.abs().clamp_min(1)
        beyond = ((after < low - rounding) & (change < 0)) | ((after > high + rounding) & (change > 0))
        up, down = self.ways(x)
        against = ((change > 0) & ~up) | ((change < 0) & ~down)
        broken = self.whole(x) & changed & (after != after.round())
        many = changed.sum(1) > (self.changes or changed.shape[1])
        measure = {"linf": norms.linf, "l1": norms.l1, "l0": norms.l0}[self.norm]
        size = measure(change / self.column(x, "scale", 1.0))
        return size.masked_fill((beyond | against | broken).any(1) | many, math.inf)

    # -- what the features say -----------------------------------------------------------------------------------

    def column(self, x: Batch, key: str, usual: float) -> Tensor:
        """(1, n) or (1, 1) what every feature says of `key`."""
        if self.features and math.prod(x.shape[1:]) != len(self.features):
            raise InputError(
                f"This Tabular threat describes {len(self.features)} features; got inputs of {math.prod(x.shape[1:])}, "
                f"of shape {tuple(x.shape[1:])}. Describe each feature of the input, in order."
            )
        values = [getattr(f, key) for f in self.features] or [usual]
        return torch.tensor([values], dtype=x.dtype, device=x.device)

    def whole(self, x: Batch) -> Tensor:
        """(1, n) which features are integers."""
        return self.column(x, "integer", 0.0) > 0

    def ways(self, x: Batch) -> tuple[Tensor, Tensor]:
        """(1, n) which features may rise, and which may fall."""
        moves = [f.moves for f in self.features] or ["any"]
        up, down = ([way in ("any", this) for way in moves] for this in ("up", "down"))
        return torch.tensor([up], device=x.device), torch.tensor([down], device=x.device)

    def most(self, features: int) -> int:
        """How many features may change."""
        limit = self.eps if self.norm == "l0" else self.changes
        return features if limit is None else int(min(limit, features))

    def room(self, x: Batch, bounds: Bounds) -> tuple[Tensor, Tensor]:
        """(b, n) how far each feature alone may fall, at most 0, and rise, at least 0."""
        clean = x.flatten(1)
        low = self.column(x, "low", -math.inf).clamp_min(bounds[0]) - clean
        high = self.column(x, "high", math.inf).clamp_max(bounds[1]) - clean
        if self.norm != "l0":
            far = self.eps * self.column(x, "scale", 1.0)
            low, high = low.maximum(-far), high.minimum(far)
        up, down = self.ways(x)
        low, high = low.masked_fill(~down, 0).clamp_max(0), high.masked_fill(~up, 0).clamp_min(0)
        slack = 1e-6 * clean.abs().clamp_min(1)
        first, last = (clean + low - slack).ceil() - clean, (clean + high + slack).floor() - clean
        whole = self.whole(x)
        return torch.where(whole, first.clamp_max(0), low), torch.where(whole, last.clamp_min(0), high)

    def nearest(self, clean: Tensor, wanted: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Feature by feature the nearest change that is possible."""
        near = wanted.clamp(low, high)
        stepped = ((clean + near).round() - clean).clamp(low, high)
        stepped = torch.where(wanted.abs() < (wanted - stepped).abs(), 0, stepped)  # a clean value need not be whole
        return torch.where(self.whole(clean), stepped, near)

    def inward(self, clean: Tensor, change: Tensor) -> Tensor:
        """The change, with integers rounded toward the clean value."""
        after = clean + change * (1 + 1e-6)
        whole = torch.where(change > 0, after.floor() - clean, after.ceil() - clean)
        whole = torch.where(whole * change > 0, whole, 0)  # where there is no whole number between
        return torch.where(self.whole(clean), whole, change)


def rounded_inward(clean: Tensor, change: Tensor, whole: Tensor) -> Tensor:
    """A change whose sum with the clean value is no farther away than it says, of values much larger than their scale."""
    after = clean + change
    farther = (after - clean).abs() > change.abs()
    after = torch.where(farther, torch.nextafter(after, clean), after)
    return torch.where(whole, change, after - clean)


def features_of(
    x: Any,
    names: Sequence[str] | None = None,
    *,
    never: Sequence[int | str] = (),
    up: Sequence[int | str] = (),
    down: Sequence[int | str] = (),
) -> Features:
    """Features as a table shows them: its smallest and largest values as bounds, their difference as scale.

    Columns of whole numbers are taken for integers.

    Args:
        x: (n, features) the table.
        names: of the columns.
        never: names or numbers of columns that cannot be changed.
        up: of columns that can only rise.
        down: of columns that can only fall.
    """
    table = torch.as_tensor(x, dtype=torch.float64)
    if table.dim() != 2 or not len(table):
        raise InputError(f"The table must have the shape (rows, features); got {tuple(table.shape)}. Give at least one row.")
    names = [str(n) for n in names] if names is not None else [f"feature {i}" for i in range(table.shape[1])]
    if len(names) != table.shape[1]:
        raise InputError(f"The table has {table.shape[1]} columns, and there are {len(names)} names. Name each of them.")
    moves = {}
    for way, which in (("never", never), ("up", up), ("down", down)):
        for one in which:
            if one not in names and one not in range(len(names)):
                raise InputError(f"There is no column {one!r} to move {way}. The columns: {', '.join(names)}.")
            moves[names.index(one) if isinstance(one, str) else one] = way
    low, high, whole = table.amin(0).tolist(), table.amax(0).tolist(), (table == table.round()).all(0).tolist()
    return Features(
        Feature(name, low[i], high[i], moves.get(i, "any"), whole[i], high[i] - low[i] or 1.0)
        for i, name in enumerate(names)
    )
