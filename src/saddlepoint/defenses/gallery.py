"""The gallery of broken defenses: each as it was shipped, with the attack that was written against it by hand.

An evaluation that finds one of these robust is wrong, and the gallery tells why.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from saddlepoint.attacks.gradient.apgd import APGD
from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.core.attack import Attack
from saddlepoint.core.config import to_config
from saddlepoint.core.errors import UnknownName
from saddlepoint.core.game import Stop
from saddlepoint.core.model import Model
from saddlepoint.core.paper import Paper
from saddlepoint.core.play import as_model, attack
from saddlepoint.core.registry import did_you_mean
from saddlepoint.defenses.architecture.k_winners import KWinners
from saddlepoint.defenses.architecture.layers import (
    GaussianNoise,
    NaNOffGrid,
    ScaledLogits,
    SoftmaxOutput,
    TestTimeDropout,
    replaced,
)
from saddlepoint.defenses.architecture.quantized import Rounded, quantized
from saddlepoint.defenses.architecture.stochastic_pruning import StochasticPruning
from saddlepoint.defenses.papers import PAPERS
from saddlepoint.defenses.preprocessing.bit_depth import BitDepth
from saddlepoint.defenses.preprocessing.defense_gan import VAE, DefenseGAN
from saddlepoint.defenses.preprocessing.jpeg import JPEG
from saddlepoint.defenses.preprocessing.pixel_defend import PixelCNN, PixelDefend
from saddlepoint.defenses.preprocessing.quilting import Quilting, patches_of
from saddlepoint.defenses.preprocessing.resize_pad import ResizePad
from saddlepoint.defenses.preprocessing.thermometer import Thermometer
from saddlepoint.defenses.preprocessing.total_variation import TotalVariation
from saddlepoint.defenses.training.distillation import distill
from saddlepoint.defenses.workshop import Workshop
from saddlepoint.detectors.lid import LID
from saddlepoint.models.defended import Defended
from saddlepoint.models.expectation import ExpectationOver
from saddlepoint.models.guarded import Guarded
from saddlepoint.models.torch import TorchModel
from saddlepoint.models.zoo import SmallCNN
from saddlepoint.threats import Linf

Masking = Literal["shattered", "stochastic", "vanishing", "saturated", "detector", "broken"]
MASKING: dict[Masking, str] = {
    "shattered": "It has no gradient, or one that says nothing of where the answer changes.",
    "stochastic": "Every pass draws anew, and a single draw's gradient leads astray.",
    "vanishing": "The way through it is so long that its gradient is cut off or lost.",
    "saturated": "The cross entropy of what it returns is lost in the rounding of 32 bits.",
    "detector": "A detector refuses to answer, and a refusal is no success.",
    "broken": "Its answers are not numbers.",
}
"""Why an attack fails that does not know better."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a paper says of a defense, and what was left of it; accuracies as shares.

    Attributes:
        data: set of images.
        threat: as text; "l2" is here the root mean square of a pixel's change, since images are large.
        claimed: accuracy under attack that the authors reported; None where that is not comparable or not at hand.
        broken: accuracy under the adaptive attack.
        source: who broke it.
    """

    data: str
    threat: str
    claimed: float | None = None
    broken: float
    source: str = "athalye2018obfuscated"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One broken defense.

    Attributes:
        name: to ask for.
        masking: why attacks seem to fail.
        about: what it does, in one sentence.
        undone: what the attack by hand does about it, in one sentence.
        build: makes the defended model from a `Workshop`, as shipped.
        adaptive: from the defended model to a model that hides nothing, and the attack on it.
        how: further arguments of `saddlepoint.attack` for that.
        threat: on digits, a set in which the first attack fails and the second succeeds.
        random: whether it answers at random.
        paper: where it comes from; None for a common mistake.
        published: what was reported of it.
    """

    name: str
    masking: Masking
    about: str
    undone: str
    build: Callable[[Workshop], nn.Module | Model]
    adaptive: Callable[[Any], tuple[Model, Attack]]
    how: Mapping[str, Any] = field(default_factory=lambda: {"stop": Stop.NEVER})
    threat: str = "linf:0.2"
    random: bool = False
    paper: Paper | None = None
    published: Published | None = None


MARGIN = PGD(steps=60, loss="margin")
EXPECTED = PGD(steps=25, loss="margin")


def through(backward: Any = "identity") -> Callable[[Any], tuple[Model, Attack]]:
    """BPDA: the gradient passes the preprocessing as if it were the identity, or another function made of it."""

    def adaptive(shipped: Any) -> tuple[Model, Attack]:
        instead = backward if backward == "identity" else backward(shipped.preprocess)
        return Defended(shipped.net, shipped.preprocess, instead), MARGIN

    return adaptive


def in_expectation(draws: int = 10) -> Callable[[Any], tuple[Model, Attack]]:
    """EOT: the mean of many draws of a model that is differentiable as it is."""
    return lambda shipped: (ExpectationOver(shipped, draws, together=True), EXPECTED)


def as_shipped(shipped: Any) -> tuple[Model, Attack]:
    """The model itself: it is enough to look at the margin of its logits, or of its detector's, too."""
    return as_model(shipped), MARGIN


def behind_the_head(shipped: Any) -> tuple[Model, Attack]:
    """The logits before whatever was done to them."""
    return TorchModel(shipped[0]), MARGIN


def straight_through(shipped: nn.Module) -> tuple[Model, Attack]:
    """The same rounded answers, with the gradient of the network that does not round."""
    smooth = replaced(shipped, Rounded, lambda layer: nn.Identity())
    return Defended(nn.Identity(), shipped, smooth), MARGIN


def wider(shipped: nn.Module) -> tuple[Model, Attack]:
    """The same winners, with the gradient of twice as many, which jumps less; from many sides, since it still does."""
    smooth = replaced(shipped, KWinners, lambda layer: KWinners(min(1, 2 * layer.share)))
    return Defended(nn.Identity(), shipped, smooth), APGD(steps=40, targets=9)


def pruned(workshop: Workshop) -> nn.Module:
    """SAP after every activation of a trained network."""
    return replaced(workshop.plain(), nn.ReLU, lambda relu: nn.Sequential(relu, StochasticPruning()))


def winners(workshop: Workshop) -> nn.Module:
    """A network trained with k winners in place of ReLU."""
    return workshop.classifier(
        lambda: replaced(SmallCNN(workshop.shape, len(workshop.data.classes)), nn.ReLU, lambda relu: KWinners(0.05))
    )


def thinned(workshop: Workshop) -> nn.Module:
    """Dropout after every activation of a trained network, also when it answers."""
    return replaced(workshop.plain(), nn.ReLU, lambda relu: nn.Sequential(relu, TestTimeDropout()))


def silent(workshop: Workshop) -> Guarded:
    """A detector that finds nothing suspicious, ever."""
    return Guarded(workshop.plain(), lambda x: torch.zeros(len(x)), 0.5, classes=len(workshop.data.classes))


def unsure(workshop: Workshop) -> Guarded:
    """A detector that flags, without a gradient, whatever the network gives less than 90 %."""
    net = workshop.plain()

    def score(x: Tensor) -> Tensor:
        with torch.no_grad():
            return (net(x).softmax(1).amax(1) < 0.9).to(x.dtype)

    return Guarded(net, score, 0.5, classes=len(workshop.data.classes))


def dimensional(workshop: Workshop) -> Guarded:
    """The detector of local dimensions, fitted on PGD that stops at its first win, and rejecting 5 % of clean images."""
    net, threat = workshop.plain(), Linf(0.2)
    x, y = workshop.data.batch(range(min(1000, len(workshop.data))))
    fitted_on = len(x) // 2
    x_adv = attack(TorchModel(net), x[:fitted_on], y[:fitted_on], threat, PGD(steps=10)).x_adv
    fitted = LID(reference=min(100, fitted_on // 2)).fit(net, x[:fitted_on], x_adv)
    return Guarded(net, fitted.score, fitted.threshold(x[fitted_on:]), classes=len(workshop.data.classes))


def distilled(workshop: Workshop) -> nn.Module:
    """A network taught by another at temperature 100."""

    def make() -> nn.Module:
        return SmallCNN(workshop.shape, len(workshop.data.classes))

    how = {"trainer": to_config(workshop.trainer), "distilled": 100.0}
    return workshop.made(make, how, lambda net: distill(net, make, workshop.data, workshop.trainer, 100.0))


def quilted(workshop: Workshop) -> nn.Module:
    """Quilts of patches of 5 x 5 pixels."""
    return workshop.before(Quilting(patches_of(workshop.images, 4000)))


def purified(workshop: Workshop) -> nn.Module:
    """PixelDefend before a network that is trained on purified images."""
    return workshop.before(PixelDefend(workshop.likelihood(PixelCNN, 8), 0.1))


def generated(workshop: Workshop) -> nn.Module:
    """Defense-GAN before a network that is trained on generated images."""
    vae = workshop.likelihood(lambda: VAE(workshop.shape), 30)
    return workshop.before(DefenseGAN(vae.decode, vae.latent))


def random_through(draws: int, method: Attack = EXPECTED) -> Callable[[Any], tuple[Model, Attack]]:
    """BPDA and EOT: the mean gradient over draws of a preprocessing, each passed as if it were the identity."""
    return lambda shipped: (ExpectationOver(Defended(shipped.net, shipped.preprocess), draws, together=True), method)


def surely(shipped: Guarded) -> tuple[Model, Attack]:
    """The same rule about the same network, as a score with a gradient: the log-odds of the limit less those of the answer.

    A refusal is no success, as for every `Guarded`.
    """

    def score(x: Tensor) -> Tensor:
        top, *rest = shipped.model.logits(x).sort(1, descending=True).values.split([1, shipped.rejection - 1], 1)
        return math.log(0.9 / 0.1) - (top.squeeze(1) - rest[0].logsumexp(1))

    return Guarded(shipped.model, score, classes=shipped.rejection), MARGIN


def past_the_guard(shipped: Guarded) -> tuple[Model, Attack]:
    """High confidence in the wrong class is what most detectors take for clean."""
    return shipped.model, MARGIN


_ENTRIES = (
    Entry(
        name="logit-scaling", masking="saturated", about="Logits times 100.",
        undone="Look at the logits before the scale.",
        build=lambda w: nn.Sequential(w.plain(), ScaledLogits(100)), adaptive=behind_the_head,
    ),
    Entry(
        name="softmax-output", masking="saturated", about="Returns softmax(20 * logits) as if these were logits.",
        undone="Look at the logits before the softmax.",
        build=lambda w: nn.Sequential(w.plain(), SoftmaxOutput(20)), adaptive=behind_the_head,
    ),
    Entry(
        name="dropout", masking="stochastic", about="Dropout that stays on when the network answers.",
        undone="The mean gradient of ten draws (EOT).",
        build=thinned, adaptive=in_expectation(), random=True,
    ),
    Entry(
        name="noise", masking="stochastic", about="Gaussian noise on the input, new at every pass.",
        undone="The mean gradient of ten draws (EOT).",
        build=lambda w: w.behind(GaussianNoise(0.3)), adaptive=in_expectation(), random=True,
    ),
    Entry(
        name="bit-depth", masking="shattered", about="Eight gray levels.",
        undone="Pass the gradient on as if nothing were rounded (BPDA).", build=lambda w: w.behind(BitDepth(3)),
        adaptive=through(), paper=PAPERS["guo2018countering"],
        published=Published(data="ImageNet", threat="l2:0.05", broken=0),
    ),
    Entry(
        name="jpeg", masking="shattered", about="JPEG of quality 75.",
        undone="Pass the gradient on as if nothing were rounded (BPDA).", build=lambda w: w.behind(JPEG(75)),
        adaptive=through(), paper=PAPERS["guo2018countering"],
        published=Published(data="ImageNet", threat="l2:0.05", broken=0),
    ),
    Entry(
        name="k-winners", masking="shattered", about="Keeps a twentieth of every layer's activations.",
        undone="Take the gradient of twice as many winners (BPDA), toward every class.",
        build=winners, adaptive=wider, paper=PAPERS["xiao2020kwta"],
    ),
    Entry(
        name="quantized", masking="shattered", about="Activations rounded to sixteen values.",
        undone="Take the gradient of the network that does not round (BPDA).",
        build=lambda w: quantized(w.plain()), adaptive=straight_through,
    ),
    Entry(
        name="resize-pad", masking="stochastic", about="A random size at a random place.",
        undone="The mean gradient of twenty draws (EOT).",
        build=lambda w: w.behind(ResizePad()), adaptive=in_expectation(20), random=True, paper=PAPERS["xie2018mitigating"],
        published=Published(data="ImageNet", threat="linf:0.031", broken=0),
    ),
    Entry(
        name="sap", masking="stochastic", about="Drops activations at random, small ones first.",
        undone="The mean gradient of ten draws (EOT).",
        build=pruned, adaptive=in_expectation(), random=True, paper=PAPERS["dhillon2018stochastic"],
        published=Published(data="CIFAR-10", threat="linf:0.031", broken=0),
    ),
    Entry(
        name="thermometer", masking="shattered", about="Ten bits a pixel, which say what the pixel is above.",
        undone="A ramp in place of each stair (BPDA).",
        build=lambda w: w.behind(Thermometer(10)), adaptive=through(lambda code: code.ramp),
        paper=PAPERS["buckman2018thermometer"],
        published=Published(data="CIFAR-10", threat="linf:0.031", claimed=0.7916, broken=0.3),  # with adversarial training
    ),
    Entry(
        name="nan", masking="broken", about="Answers NaN to all but images of eight bits.",
        undone="Stay on the grid of eight bits, where it answers.",
        build=lambda w: NaNOffGrid(w.plain()), adaptive=as_shipped,
        how={"stop": Stop.NEVER, "quantize": 256},
    ),
    Entry(
        name="silent-detector", masking="detector", about="A detector that lies: its score is a constant.",
        undone="High confidence in a wrong class; nothing refuses.",
        build=silent, adaptive=past_the_guard,
    ),
    Entry(
        name="confidence-detector", masking="detector", about="Rejects what it is unsure of, without a gradient.",
        undone="The same rule as a score with a gradient, so that wrong answers are sure ones.",
        build=unsure, adaptive=surely,
    ),
    Entry(
        name="lid", masking="detector", about="Rejects inputs around which the data have many dimensions.",
        undone="Follow the gradient of the detector's score too.",
        build=dimensional, adaptive=as_shipped, paper=PAPERS["ma2018characterizing"],
        published=Published(data="CIFAR-10", threat="linf:0.031", broken=0.05),
    ),
    Entry(
        name="distillation", masking="saturated", about="Taught by a network at temperature 100.",
        undone="The margin of the logits, which does not saturate.",
        build=distilled, adaptive=as_shipped, paper=PAPERS["papernot2016distillation"],
        published=Published(data="MNIST", threat="l0:112", claimed=0.995, broken=0, source="carlini2017towards"),
    ),
    Entry(
        name="total-variation", masking="shattered", about="Drops half of the pixels and fills in smoothly.",
        undone="Pass the gradient on as if nothing were filled in (BPDA), the mean of ten draws (EOT).",
        build=lambda w: w.before(TotalVariation()), adaptive=random_through(10), random=True,
        paper=PAPERS["guo2018countering"], published=Published(data="ImageNet", threat="l2:0.05", broken=0),
    ),
    Entry(
        name="quilting", masking="shattered", about="Rebuilds the image of random clean patches.",
        undone="Pass the gradient on as if nothing were replaced (BPDA), the mean of four draws (EOT).",
        build=quilted, adaptive=random_through(4, PGD(steps=20, loss="margin")), random=True, threat="linf:0.4",
        paper=PAPERS["guo2018countering"], published=Published(data="ImageNet", threat="l2:0.05", broken=0),
    ),
    Entry(
        name="defense-gan", masking="vanishing", about="Replaces the image by the nearest one of a generator.",
        undone="Pass the gradient on as if the image were kept (BPDA), from a fresh start at every step (EOT).",
        build=generated, adaptive=random_through(1, MARGIN), random=True, threat="linf:0.3",
        paper=PAPERS["samangouei2018defensegan"],
        published=Published(data="MNIST", threat="l2:0.0707", broken=0.55),
    ),
    Entry(
        name="pixel-defend", masking="vanishing", about="Moves every pixel to its likeliest level nearby.",
        undone="Pass the gradient on as if the image were kept (BPDA).",
        build=purified, adaptive=through(), paper=PAPERS["song2018pixeldefend"],
        published=Published(data="CIFAR-10", threat="linf:0.031", claimed=0.7, broken=0.09),
    ),
)  # fmt: skip

GALLERY: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def entry(name: str) -> Entry:
    """The broken defense of that name.

    Raises:
        UnknownName: there is none.
    """
    if name not in GALLERY:
        raise UnknownName(f"There is no defense {name!r}.{did_you_mean(name, GALLERY)} There are: {', '.join(GALLERY)}.")
    return GALLERY[name]
