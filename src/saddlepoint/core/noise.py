"""Randomness that belongs to the example: keyed by (seed, example id, stream, draw), never by place in a batch.

The same row draws the same numbers alone or among others, on any device, after any resume. Small draws come from a
vectorized counter-based hash (SplitMix64), large ones from one torch generator a row; the size alone decides which.
"""

import hashlib
import math

import torch
from torch import Tensor

HASHED_UP_TO = 64  # numbers a row: above it a generator a row is cheaper than hashing
_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


_GOLDEN, _MIX1, _MIX2 = (_signed(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # logical shift: int64 has only the arithmetic one


def mix(z: Tensor) -> Tensor:
    """SplitMix64 finalizer on int64, wrapping."""
    z = z + _GOLDEN
    z = (z ^ _shift(z, 30)) * _MIX1
    z = (z ^ _shift(z, 27)) * _MIX2
    return z ^ _shift(z, 31)


class Noise:
    """Draws for a batch of examples.

    Attributes:
        seed: the run's seed.
        ids: (b,) int64 example ids; rows with equal ids draw equal numbers.
        stream: a label; different streams are independent.
        lanes: (b,) a number that sets rows with equal ids apart, zero for a row as it is; None for zero everywhere.
    """

    def __init__(
        self, seed: int, ids: Tensor, stream: str = "", device: torch.device | None = None, lanes: Tensor | None = None
    ) -> None:
        self.seed = seed
        self.ids = ids.to("cpu", torch.int64)
        self.stream = stream
        self.device = device or ids.device
        self.draws = 0
        key = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
        self._key = mix(self.ids ^ _signed(int.from_bytes(key)))
        self.lanes = lanes
        if lanes is not None:
            self._key = torch.where(lanes == 0, self._key, mix(self._key + lanes * _GOLDEN))

    def fork(self, name: str) -> "Noise":
        """An independent stream, for draws whose number depends on how the search goes."""
        return Noise(self.seed, self.ids, f"{self.stream}/{name}", self.device, self.lanes)

    def lane(self, turn: Tensor) -> "Noise":
        """Independent streams by the number (b,) of a search; those of search zero are these."""
        rest = Noise(self.seed, self.ids, self.stream, self.device, turn.to("cpu", torch.int64))
        rest.draws = self.draws
        return rest

    def select(self, index: Tensor) -> "Noise":
        """The same streams for some of the rows, at the same draw."""
        index = index.cpu()
        lanes = None if self.lanes is None else self.lanes[index]
        rest = Noise(self.seed, self.ids[index], self.stream, self.device, lanes)
        rest.draws = self.draws
        return rest

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """(b, *shape), uniform in [0, 1)."""
        numel = math.prod(shape)
        keys = self._next()
        if numel <= HASHED_UP_TO:
            bits = mix(keys[:, None] + torch.arange(numel) * _GOLDEN)
            draw = (_shift(bits, 40).to(torch.float32) * 2.0**-24).to(dtype)
        else:
            draw = torch.empty(len(keys), numel, dtype=dtype)
            for row, key in zip(draw, keys.tolist(), strict=True):
                torch.rand(numel, generator=torch.Generator().manual_seed(key), out=row)
        return draw.view(len(keys), *shape).to(self.device)

    def numbered(self, draw: Tensor, numel: int) -> Tensor:
        """(b, m, numel), uniform in [0, 1): the draws with these numbers (b, m), for an attack that looks ahead."""
        keys = mix(self._key[:, None] + draw.cpu() * _GOLDEN)
        bits = mix(keys[..., None] + torch.arange(numel) * _GOLDEN)
        return (_shift(bits, 40).to(torch.float32) * 2.0**-24).to(self.device)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """(b, *shape), standard normal."""
        numel = math.prod(shape)
        if numel <= HASHED_UP_TO:
            u, v = self.uniform(*shape, dtype=torch.float64), self.uniform(*shape, dtype=torch.float64)
            return ((-2 * (1 - u).log()).sqrt() * (2 * math.pi * v).cos()).to(dtype)
        keys = self._next()
        draw = torch.empty(len(keys), numel, dtype=dtype)
        for row, key in zip(draw, keys.tolist(), strict=True):
            torch.randn(numel, generator=torch.Generator().manual_seed(key), out=row)
        return draw.view(len(keys), *shape).to(self.device)

    def sign(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """(b, *shape), -1 or 1."""
        return torch.where(self.uniform(*shape) < 0.5, -1.0, 1.0).to(dtype)

    def integers(self, high: int | Tensor, *shape: int) -> Tensor:
        """(b, *shape) int64, uniform in 0 ... high - 1."""
        return (self.uniform(*shape, dtype=torch.float64) * high).floor().long()

    def _next(self) -> Tensor:
        self.draws += 1
        return mix(self._key + _signed(self.draws * _GOLDEN))
