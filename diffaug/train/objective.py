"""Training objectives: what a step of the optimizer minimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from diffaug.models.families.masked_lm import BodyAndHead
from diffaug.models.module import DiffusionModel

__all__ = ["Denoising", "MaskedTokens", "Objective", "Reconstruction"]

M_contra = TypeVar("M_contra", bound=nn.Module, contravariant=True)

_KL_WEIGHT = 1e-5
"""Of each latent's divergence, summed over the latents and divided by the number of pixel values;
with one ten times as large, and less, the latents are as good as exact."""

_EARLIEST = 1e-3
"""The earliest time at which tokens are hidden: at time 0 their weight is infinite."""


class Objective(Protocol[M_contra]):
    """A loss of a model on a batch."""

    def loss(self, model: M_contra, x_0: Tensor, labels: Tensor) -> Tensor:
        """The scalar to minimise.

        Draws from torch's global generators, which the trainer seeds for each step.

        Args:
            model: the model in training.
            x_0: clean images (B, C, H, W) in [-1, 1], or their latents, or the tokens of texts
                (B, L), on the device of the model.
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


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Reconstruction through latents drawn from the encoder's posterior, whose divergence from the
    standard normal is kept in bounds by a small weight (Kingma & Welling 2014,
    https://arxiv.org/abs/1312.6114; Rombach et al. 2022, https://arxiv.org/abs/2112.10752).
    """

    def loss(self, model: Any, x_0: Tensor, labels: Tensor) -> Tensor:
        """The mean absolute error of pixels, and the weighted divergence.

        Args:
            model: diffusers' `AutoencoderKL`.
            x_0: images (B, C, H, W) in [-1, 1].
            labels: not used.
        """
        posterior = model.encode(x_0.to(memory_format=torch.channels_last)).latent_dist
        error = model.decode(posterior.sample()).sample.float() - x_0
        divergence = posterior.kl().float().mean() / x_0[0].numel()
        loss: Tensor = error.abs().mean() + _KL_WEIGHT * divergence
        return loss


@dataclass(frozen=True, slots=True)
class MaskedTokens:
    """The bound on the likelihood of masked diffusion: the cross entropy of hidden tokens, each
    weighed by one over the time (Sahoo et al. 2024, https://arxiv.org/abs/2406.07524).

    Attributes:
        mask: the token that hides another.
        padding: the token that fills a batch.
        never: tokens that are never hidden.
        classes: the token of each class; empty if the model takes none.
        class_dropout: probability of dropping a class.
    """

    mask: int
    padding: int
    never: tuple[int, ...]
    classes: tuple[int, ...]
    class_dropout: float

    def loss(self, model: BodyAndHead, x_0: Tensor, labels: Tensor) -> Tensor:
        """Nats a token, at times that are spread evenly over the batch.

        Args:
            model: in training.
            x_0: int64 (B, L).
            labels: int64 (B,); the number of classes means none.
        """
        dropped = torch.rand(len(labels)) < self.class_dropout
        shown = labels.masked_fill(dropped, len(self.classes))
        t = (torch.rand(1) + torch.arange(len(x_0)) / len(x_0)) % 1
        return self.at(model, x_0, shown, t, torch.rand((len(x_0), x_0.shape[1] + 1)))

    def at(
        self, model: BodyAndHead, x_0: Tensor, labels: Tensor, t: Tensor, drawn: Tensor
    ) -> Tensor:
        """The same at given times (B,), with uniform values (B, L + 1) that hide tokens."""
        device, t = x_0.device, t.clamp(min=_EARLIEST)
        tokens = self._told(x_0, labels.to(device))
        may_hide = ~torch.isin(tokens, torch.tensor(self.never, device=device))
        hidden = (drawn[:, : tokens.shape[1]] < t[:, None]).to(device) & may_hide
        features = model.body(tokens.masked_fill(hidden, self.mask), tokens != self.padding)
        logits = model.head(features[hidden]).float()
        errors = nn.functional.cross_entropy(logits, tokens[hidden], reduction="none")
        weights = (1 / t).to(device)[:, None].expand(hidden.shape)[hidden]
        return (errors * weights).sum() / may_hide.sum()

    def _told(self, x_0: Tensor, labels: Tensor) -> Tensor:
        """The tokens with that of each text's class behind the first, where it has one."""
        if not self.classes:
            return x_0
        signs = torch.tensor([*self.classes, self.padding], device=x_0.device)[labels]
        with_class = torch.cat([x_0[:, :1], signs[:, None], x_0[:, 1:]], dim=1)
        without = nn.functional.pad(x_0, (0, 1), value=self.padding)
        return torch.where((labels < len(self.classes))[:, None], with_class, without)
