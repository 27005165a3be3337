"""The family of momentum: sign-gradient attacks made to transfer to models that they never saw."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn.functional import conv2d

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as, l1, unit
from saddlepoint.threats import Ball


@record
class MIFGSM(Attack):
    """BIM along a running sum of normalized gradients, which crosses the wiggles that one model has to itself.

    Meant for transfer: craft on one model with `stop=Stop.NEVER`, so that rows do not leave at their first, barely won
    candidate, and put the result to another. In the white box it is BIM with a smoother path; PGD and APGD are stronger.
    NIFGSM, SIFGSM, DIFGSM and TIFGSM are this with one more ingredient on; every member takes all of them, so that
    SI-NI-TI-DIM is `SIFGSM(look_ahead=True, diversity=0.5, kernel=7)`.

    Attributes:
        steps: steps along the sum.
        step_size: in input units; None means radius / steps, with which the last step just reaches the edge of the ball.
        decay: how much of the sum is kept from step to step; 0 for BIM.
        look_ahead: take the gradient where the sum alone would lead, not where the row is (Nesterov).
        scales: average the gradients of so many copies of the input, each half as bright as the last.
        diversity: probability that a copy is shrunk and put down at a random place.
        shrink: the smallest height and width of such a copy, as a share of the input's.
        kernel: width in pixels of the Gaussian that smooths the gradient, odd; 1 for none.

    Deviations: the cross entropy is used as the log-odds, which does not saturate. Steps go along the threat's steepest
    direction, the sign on a linf ball. Brightness 0 and the color of the frame are the bound nearest to 0 where 0 is out of
    bounds. Inputs other than images (c, h, w) are neither shrunk nor smoothed.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Ball,)
    paper: ClassVar = Paper(
        key="dong2018boosting",
        title="Boosting Adversarial Attacks with Momentum",
        authors="Dong, Yinpeng and Liao, Fangzhou and Pang, Tianyu and Su, Hang and Zhu, Jun and Hu, Xiaolin"
        " and Li, Jianguo",
        year=2018,
        venue="IEEE Conference on Computer Vision and Pattern Recognition",
        arxiv="1710.06081",
    )
    steps: Count = 10
    step_size: StepSize | None = None
    decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    look_ahead: bool = False
    scales: Count = 1
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    shrink: Share = 0.9
    kernel: Count = 1

    @field_validator("kernel")
    @classmethod
    def _centered(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("odd, so that it has a center")
        return kernel

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps * self.scales + 2, self.steps * self.scales

    def run(self, game: Game) -> Iterator[Rows]:
        step_size = self.step_size or game.threat.reach / self.steps
        start = game.start(random=False)
        rows = Rows(theta=start, total=torch.zeros_like(start))
        for _ in range(self.steps):
            ahead = rows.theta
            if self.look_ahead:
                length = l1(game.steepest(rows.total, ahead))  # of a whole step; on linf, the number of features
                ahead = game.project(ahead - self.decay * step_size * expand_as(length, ahead) * rows.total)
            gradient = self.smooth(self.gradient(game, ahead))
            rows.total = self.decay * rows.total + unit(gradient, l1(gradient))
            rows.theta = game.project(rows.theta + step_size * game.steepest(rows.total, rows.theta))
            rows = yield rows
        game.submit(rows.theta)

    def gradient(self, game: Game, at: Tensor) -> Tensor:
        """The gradients of all copies of the input at theta, summed."""
        theta = at.detach().requires_grad_()
        blank = min(max(game.model.bounds[0], 0.0), game.model.bounds[1])
        total = torch.zeros_like(at)
        for scale in range(self.scales):  # one at a time, so that every pass is counted, and fits where one fits
            x_adv = game.threat.apply(game.x, theta)
            copy = self.diverse(game, x_adv - (1 - 2**-scale) * (x_adv - blank), blank)
            total = total + game.gradient(game.cross_entropy(copy, apply=given), theta)
        return total

    def diverse(self, game: Game, images: Tensor, blank: float) -> Tensor:
        """Some of the images, smaller and at a random place of a blank frame; each draws for itself."""
        if not self.diversity or images.dim() != 4:
            return images
        draw = game.noise.uniform(4, dtype=images.dtype)
        share = self.shrink + (1 - self.shrink) * draw[:, 0]
        down, across = (resample(n, share, draw[:, 1 + i]) for i, n in enumerate(images.shape[2:]))
        moved = torch.einsum("bih,bchw,bjw->bcij", down, images - blank, across) + blank
        return torch.where(expand_as(draw[:, 3] < self.diversity, images), moved, images)

    def smooth(self, gradient: Tensor) -> Tensor:
        """The gradient summed over small shifts of the image."""
        half = self.kernel // 2
        if not half or gradient.dim() != 4:
            return gradient
        places = torch.arange(-half, half + 1, dtype=gradient.dtype, device=gradient.device)
        bell = (-0.5 * (3 * places / half) ** 2).exp()  # three standard deviations from center to edge
        bell, channels = bell / bell.sum(), gradient.shape[1]
        for shape in ((-1, 1), (1, -1)):
            weight = bell.view(1, 1, *shape).expand(channels, -1, -1, -1)
            gradient = conv2d(gradient, weight, padding="same", groups=channels)
        return gradient


def given(_: Tensor, x_adv: Tensor) -> Tensor:
    """What is put to the model is already an input."""
    return x_adv


def resample(n: int, share: Tensor, place: Tensor) -> Tensor:
    """(b, n, n) bilinear weights that shrink a row of n pixels to a share of itself, from `place` 0 (left) to 1 (right)."""
    pixel = torch.arange(n, dtype=share.dtype, device=share.device)
    first = place * (1 - share) * n
    source = (pixel + 0.5 - first[:, None]) / share[:, None] - 0.5
    return (1 - (source[:, :, None] - pixel).abs()).clamp_min(0)


@record
class NIFGSM(MIFGSM):
    """MIFGSM with a look ahead: the gradient is taken where the momentum alone would lead (Nesterov).

    Corrects the course before the step, which wins a little more often than MIFGSM at the same cost, in the white box and
    after transfer. The other settings are those of MIFGSM.

    Attributes:
        look_ahead: on.

    Deviations: the sum is scaled to the size of a step before it is added, which on a linf ball is the division by the mean
    in the paper's code; divided by its L1 norm, as printed, it would hardly leave the point. The point ahead is projected
    onto the set, so that it can win.
    """

    paper: ClassVar = Paper(
        key="lin2020nesterov",
        title="Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks",
        authors="Lin, Jiadong and Song, Chuanbiao and He, Kun and Wang, Liwei and Hopcroft, John E.",
        year=2020,
        venue="International Conference on Learning Representations",
        arxiv="1908.06281",
    )
    look_ahead: bool = True


@record
class SIFGSM(MIFGSM):
    """MIFGSM on the average gradient of the input and of darker copies of it (scale invariance).

    Good where the other model sees contrast differently; it costs as many passes a step as there are copies. SI-NI-FGSM of
    the same paper is `SIFGSM(look_ahead=True)`. The other settings are those of MIFGSM.

    Attributes:
        scales: copies, the input itself among them: x, x/2, x/4, ...
    """

    paper: ClassVar = NIFGSM.paper
    scales: Count = 5


@record
class DIFGSM(MIFGSM):
    """MIFGSM whose inputs are shrunk at random and padded before each gradient (input diversity).

    This is M-DI2-FGSM; `decay=0` is DI2-FGSM. What the model gets wrong on a shrunken copy is no win, so in the white box it
    is a little weaker than MIFGSM. The other settings are those of MIFGSM.

    Attributes:
        diversity: probability that a row is shrunk in a step.
        shrink: the smallest height and width, as a share of the input's: in between all sizes are equally likely.

    Deviations: the paper enlarges the image and pads it to 330 pixels from 299 to 330; here the frame keeps the size of the
    input, since many models take no other, and the image shrinks by as much. Sizes and places are not whole pixels.
    """

    paper: ClassVar = Paper(
        key="xie2019improving",
        title="Improving Transferability of Adversarial Examples with Input Diversity",
        authors="Xie, Cihang and Zhang, Zhishuai and Zhou, Yuyin and Bai, Song and Wang, Jianyu and Ren, Zhou"
        " and Yuille, Alan L.",
        year=2019,
        venue="IEEE Conference on Computer Vision and Pattern Recognition",
        arxiv="1803.06978",
    )
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.5


@record
class TIFGSM(MIFGSM):
    """MIFGSM along gradients smoothed by a Gaussian, as if the image had been attacked at all small shifts at once.

    Good against defended models, whose gradients look at other places than the source's; the change is visibly smooth, and
    in the white box it is weaker than MIFGSM. The other settings are those of MIFGSM.

    Attributes:
        kernel: width in pixels of the Gaussian, odd, which is cut at three standard deviations. 7 suits images of 28 to
            100 pixels; the paper takes 15 for 299.
    """

    slack: ClassVar = 2.0  # on noise, with no neighbors alike, a smoothed gradient is off the steepest direction
    paper: ClassVar = Paper(
        key="dong2019evading",
        title="Evading Defenses to Transferable Adversarial Examples by Translation-Invariant Attacks",
        authors="Dong, Yinpeng and Pang, Tianyu and Su, Hang and Zhu, Jun",
        year=2019,
        venue="IEEE Conference on Computer Vision and Pattern Recognition",
        arxiv="1904.02884",
    )
    kernel: Count = 7
