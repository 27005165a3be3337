"""An attack in one file: iterated steps along a gradient with momentum.

python examples/my_attack.py
"""

from typing import ClassVar

import torch

import saddlepoint as sp
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, record
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import l1, unit
from saddlepoint.testing.oracles import Wavy


@record
class MyMomentum(Attack):
    """Iterated FGSM with momentum.

    Its inputs carry over to other models more often than those of BIM.

    Attributes:
        steps: gradient evaluations; each step is the radius over `steps`. 10 as in the paper.
        decay: share of the accumulated gradient that is kept. 1 as in the paper.
    """

    access: ClassVar = sp.Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (sp.Linf, sp.L2)
    paper: ClassVar = Paper(
        key="dong2018boosting",
        title="Boosting Adversarial Attacks with Momentum",
        authors="Dong, Yinpeng and Liao, Fangzhou and others",
        year=2018,
        venue="IEEE Conference on Computer Vision and Pattern Recognition",
        arxiv="1710.06081",
    )
    steps: Count = 10
    decay: Share = 1.0

    def passes(self, features, classes):
        return self.steps + 2, self.steps

    def run(self, game):
        rows = Rows(theta=game.start(random=False), velocity=torch.zeros_like(game.x))
        for _ in range(self.steps):
            theta = rows.theta.requires_grad_()
            gradient = game.gradient(game.cross_entropy(theta), theta)
            rows.velocity = self.decay * rows.velocity + unit(gradient, l1(gradient))
            theta = theta.detach()
            direction = game.steepest(rows.velocity, theta)
            rows.theta = game.project(theta + game.threat.reach / self.steps * direction)
            rows = yield rows  # rows that have won, or may ask no more, leave here
        game.submit(rows.theta)  # the last iterate is a candidate too


if __name__ == "__main__":
    model = Wavy()  # a small smooth model that comes with the laws
    x, y = model.inputs(50)
    print(sp.attack(model, x, y, "linf:0.1", MyMomentum()).success_rate)
