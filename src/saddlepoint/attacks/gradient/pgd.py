"""Projected gradient descent."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper


@record
class PGD(Attack):
    """Steps along the steepest direction, each followed by the projection onto the set, from a random start.

    The workhorse: good everywhere, best nowhere. It needs a step size; APGD finds its own and is stronger for the same
    cost. Use `Restarts(attack=PGD())` for several starts. BIM is the same from the clean input, with smaller steps.

    Attributes:
        steps: gradient evaluations.
        step_size: in input units; None means 2.5 * radius / steps, with which any point of the ball can be reached.
        random_start: begin at a random point of the set, else at the clean input.
        loss: "cross_entropy" as in the paper, "margin" or "dlr"; or "textbook", the cross entropy of the model's own outputs
            as it is commonly computed. That one saturates: it is here to show what others would have reported.
        confidence: with loss="margin", stop pushing a row that wins by so much in the model's own logits; None for never.
            The paper's "CW+" is 50; it matters where rows go on after their win, as with `stop=Stop.NEVER`.

    Deviations: the cross entropy is used as the log-odds, whose gradient has the same direction in every row and does not
    vanish when the softmax saturates. Rows leave at their first win.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    paper: ClassVar = Paper(
        key="madry2018towards",
        title="Towards Deep Learning Models Resistant to Adversarial Attacks",
        authors="Madry, Aleksander and Makelov, Aleksandar and Schmidt, Ludwig and Tsipras, Dimitris and Vladu, Adrian",
        year=2018,
        venue="International Conference on Learning Representations",
        arxiv="1706.06083",
    )
    steps: Count = 40
    step_size: StepSize | None = None
    random_start: bool = True
    loss: Literal["cross_entropy", "margin", "dlr", "textbook"] = "cross_entropy"
    confidence: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    def __post_init__(self) -> None:
        if self.confidence is not None and self.loss != "margin":
            raise ConfigError(f'PGD.confidence is a margin; got loss={self.loss!r}. Use it with loss="margin".')

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps + 2, self.steps

    def run(self, game: Game) -> Iterator[Rows]:
        step_size = self.step_size or 2.5 * game.threat.reach / self.steps
        rows = Rows(theta=game.start(self.random_start))
        for _ in range(self.steps):
            theta = rows.theta.requires_grad_()
            gradient = game.gradient(self.badness(game, theta), theta)
            theta = theta.detach()
            rows.theta = game.project(theta + step_size * game.steepest(gradient, theta))
            rows = yield rows
        game.submit(rows.theta)

    def badness(self, game: Game, theta: Tensor) -> Tensor:
        """What every row minimizes."""
        if self.loss == "textbook":
            return game.goal.textbook(game.logits(theta) * (game.scale[:, None] if game.judged else 1.0))
        value: Tensor = getattr(game, self.loss)(theta)
        if self.confidence is None:
            return value
        return (value + self.confidence / (game.scale if game.judged else 1.0)).relu()
