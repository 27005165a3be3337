"""Searches side by side give what they give one after the other, queries included."""

from collections.abc import Iterator
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import saddlepoint as sp
from saddlepoint import attacks as a
from saddlepoint.core import game as games
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.game import Game, Stop
from saddlepoint.core.model import Access
from saddlepoint.core.noise import Noise
from saddlepoint.core.result import Result


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 10)).requires_grad_(False).double()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand(24, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Counting(nn.Module):
    """How many passes there were, and of how many rows the largest was."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.passes, self.most = net, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes, self.most = self.passes + 1, max(self.most, len(x))
        return self.net(x)


def same(one: Result, other: Result) -> None:
    for name in ("outcome", "queries", "gradients", "blank", "answer"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert torch.allclose(one.x_adv, other.x_adv, rtol=0, atol=1e-9)
    assert torch.allclose(one.size, other.size, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("stop", Stop)
@pytest.mark.parametrize(
    "attack",
    [
        a.APGD(steps=9, targets=9),
        a.FAB(steps=9, targets=9),
        a.FAB(steps=9, targets=4, random_start=True),
        a.AutoAttack(steps=6),
        a.Square(steps=90),
    ],
    ids=repr,
)
def test_as_one_after_the_other(
    net: nn.Module, x: Tensor, attack: Attack, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    y, threat = net(x).argmax(1), "linf:0.035"
    spread = sp.attack(net, x, y, threat, attack, stop=stop)
    monkeypatch.setattr(games, "FULL", 1)
    in_turn = sp.attack(net, x, y, threat, attack, stop=stop)
    found = int(in_turn.rows(sp.Outcome.FOUND).sum())
    assert 0 < found < len(x)
    same(spread, in_turn)


@pytest.mark.parametrize("batch", [1, 5, 24])
def test_in_batches_of_any_size(net: nn.Module, x: Tensor, batch: int) -> None:
    y, attack = net(x).argmax(1), a.APGD(steps=9, targets=9)
    same(sp.attack(net, x, y, "l2:0.13", attack, batch=batch), sp.attack(net, x, y, "l2:0.13", attack, batch=1000))


def test_few_rows_take_fewer_passes_of_more_rows(net: nn.Module, x: Tensor) -> None:
    counts = {}
    for batch in (24, 256):
        seen = counts[batch] = Counting(net)
        sp.attack(seen, x[:4], net(x[:4]).argmax(1), "linf:0.001", a.APGD(steps=9, targets=9), batch=batch)
    assert counts[256].most == 36
    assert counts[24].most == 24
    assert counts[256].passes < counts[24].passes / 1.4


def test_a_limit_of_queries_is_kept(net: nn.Module, x: Tensor) -> None:
    y = net(x).argmax(1)
    for limit in (5, 30):
        found = sp.attack(net, x[:3], y[:3], "linf:0.001", a.APGD(steps=9, targets=9), queries=limit)
        assert found.queries.tolist() == [limit] * 3


def test_square_asks_of_no_window_that_changes_nothing(net: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(games, "FULL", 1)
    y, attack = net(x).argmax(1), a.Square(steps=90)
    few = sp.attack(net, x, y, "linf:0.035", attack)
    ahead = Game.ahead
    monkeypatch.setattr(Game, "ahead", lambda game, moved, below, where: ahead(game, moved, below=below))
    every = sp.attack(net, x, y, "linf:0.035", attack)
    for name in ("x_adv", "outcome", "answer"):
        assert torch.equal(getattr(few, name), getattr(every, name)), name
    lost = every.rows(sp.Outcome.NOT_FOUND)
    assert (every.queries[lost] >= 92).all()
    assert (few.queries[lost] < 80).all()


@pytest.mark.parametrize("limit", [None, 4])
def test_what_is_asked_ahead(net: nn.Module, x: Tensor, limit: int | None) -> None:
    x = x[:3]
    game = Game(
        sp.TorchModel(net), x, sp.Untargeted(net(x).argmax(1)), sp.Linf(1.0), noise=Noise(0, torch.arange(3)), queries=limit
    )
    game.access = Access.SCORES
    moved = torch.rand(3, 5, 20, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 0.5
    margins = game.goal.margin(net(x[:, None] + moved) / game.scale[:, None, None])
    where = torch.tensor([[0, 1, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], dtype=torch.bool)
    below = torch.stack([margins[0, 4], margins[1, 2], margins[2].max()]) + 1e-9
    below[:2] = below[:2].minimum(margins[:2].masked_fill(~where[:2], torch.inf).amin(1) + 1e-9)
    lowest, place = game.ahead(moved, below=below, where=where)
    asked = where & (where.cumsum(1) <= (3 if limit else 5))  # one query has gone to the clean input
    better = asked & (margins < below[:, None])
    for row in range(3):
        first = int(better[row].int().argmax()) if better[row].any() else 5
        assert place[row] == first
        assert lowest[row] == (margins[row, first] if first < 5 else below[row])
        assert game.live.queries[row] == 1 + asked[row, : first + 1].sum()


class Late(Attack):
    """Wins with the third search at once, with the second after some steps, and never with the first."""

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    paper: ClassVar = a.PGD.paper

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return 12, 0

    def run(self, game: Game) -> Iterator[Rows]:
        def search() -> Iterator[Rows]:
            rows = Rows(turn=game.turn)
            for k in range(4):
                wins = (rows.turn == 2) | ((rows.turn == 1) & (k == 2))
                game.submit(torch.where(wins[:, None], 0.01 * (1 + rows.turn[:, None]), 0.0) * torch.ones_like(game.x))
                rows = yield rows

        yield from game.abreast(3, search)


def test_the_first_search_that_wins_counts_though_a_later_one_is_quicker(x: Tensor) -> None:
    weights = torch.ones(20, 2, dtype=torch.float64) * torch.tensor([1.0, 0.0])
    line = nn.Linear(20, 2).double().requires_grad_(False)
    line.weight.copy_(weights.T)
    line.bias.copy_(torch.tensor([-10.0, 0.0]))
    x = torch.full((2, 20), 0.4999, dtype=torch.float64)
    found = sp.attack(line, x, torch.tensor([1, 1]), "linf:0.1", Late())
    assert torch.allclose(found.x_adv, x + 0.02)
    assert found.queries.tolist() == [1 + 4 + 3] * 2


def test_lanes_of_noise_are_independent_and_the_first_is_the_stream_itself() -> None:
    plain = Noise(0, torch.tensor([7, 7, 7]), "a")
    lanes = plain.lane(torch.tensor([0, 1, 2]))
    drawn, spread = plain.uniform(100), lanes.uniform(100)
    assert torch.equal(spread[0], drawn[0])
    assert len({tuple(row) for row in spread.tolist()}) == 3
    assert torch.equal(lanes.select(torch.tensor([2])).uniform(100), lanes.uniform(100)[2:])
    assert not torch.equal(lanes.fork("b").uniform(100)[1], lanes.fork("b").uniform(100)[0])
