"""Stochastic activation pruning."""

import torch
from torch import Tensor, nn


class StochasticPruning(nn.Module):
    """Keeps each activation with a chance that grows with its size, and divides it by that chance: the mean is unchanged.

    Dhillon et al., "Stochastic activation pruning for robust adversarial defense" (SAP), ICLR 2018. Put after the
    activations of a trained network. Of a layer of n activations, share * n are drawn with replacement, with probabilities
    in proportion to their size; those drawn at least once are kept.

    Args:
        share: draws divided by activations; the paper's r as a share.
        straight: take the chances as constants where gradients are asked for, as the published attack does.

    Deviations: each activation is kept or not independently, with the probability that the draws would give it.
    """

    def __init__(self, share: float = 1.0, straight: bool = False) -> None:
        super().__init__()
        self.share, self.straight = share, straight

    def forward(self, h: Tensor) -> Tensor:
        size = (h.detach() if self.straight else h).flatten(1).abs()
        chance = size / size.sum(1, keepdim=True).clamp_min(1e-12)
        draws = max(1, round(self.share * size.shape[1]))
        stays = -torch.expm1(draws * torch.log1p(-chance.clamp_max(1 - 1e-6)))  # 1 - (1 - p)^r
        kept = torch.rand_like(stays) < stays
        return torch.where(kept, h.flatten(1) / stays.clamp_min(1e-12), 0).view_as(h)

    def extra_repr(self) -> str:
        return f"share={self.share}, straight={self.straight}"
