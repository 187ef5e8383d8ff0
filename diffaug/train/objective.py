"""Training objectives: what a step of the optimizer minimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from diffaug.models.module import DiffusionModel

__all__ = ["Denoising", "Objective"]


class Objective(Protocol):
    """A loss of a model on a batch."""

    def loss(self, model: DiffusionModel, x_0: Tensor, labels: Tensor) -> Tensor:
        """The scalar to minimise.

        Draws from torch's global generators, which the trainer seeds for each step.

        Args:
            model: the model in training.
            x_0: clean images (B, C, H, W) in [-1, 1], on the device of the model.
            labels: int64 (B,), their classes, on the CPU; the number of classes means none, and
                without classes all are 0.
        """
        ...


@dataclass(frozen=True, slots=True)
class Denoising:
    """Denoising score matching at random times (Ho et al. 2020, https://arxiv.org/abs/2006.11239).

    Attributes:
        classes: number of classes that condition the model; 0 if it is unconditional.
        class_dropout: probability of dropping a label, as classifier-free guidance requires
            (Ho & Salimans 2022, https://arxiv.org/abs/2207.12598).
        min_snr_gamma: of min-SNR weighting (see `Denoiser.loss_weight`); None weighs times evenly.
    """

    classes: int
    class_dropout: float
    min_snr_gamma: float | None

    def loss(self, model: DiffusionModel, x_0: Tensor, labels: Tensor) -> Tensor:
        """The mean weighted squared error of the network's prediction (see `DiffusionModel`)."""
        dropped = torch.rand(len(labels)) < self.class_dropout
        shown = labels.masked_fill(dropped, self.classes).to(x_0.device)
        terms = model(x_0, shown if self.classes else None, min_snr_gamma=self.min_snr_gamma)
        loss: Tensor = terms.loss
        return loss
