"""Objectives of a student: to arrive in one call or two where its teacher arrives in many.

The teacher's way from a noised sample is that of DDIM (Song et al. 2021), which is deterministic:
so it ends at one place, and from any time on it the student's estimate is to be that place. There
are two ways to learn it:

- `Consistency` (Song et al. 2023; with a guided teacher, Luo et al. 2023; by tuning a pretrained
  network, Geng et al. 2024): the estimate from a time equals that from the next time on the way.
- `Progressive` (Salimans & Ho 2022, all of the teacher's steps in one; Luhman & Luhman 2021): the
  estimate is where the teacher's steps arrive.

Guidance is folded in (Meng et al. 2023): the teacher is guided, and the student is told the class
alone, for the price of one row a call. Without a class, both are unguided.

https://arxiv.org/abs/2303.01469, https://arxiv.org/abs/2310.04378, https://arxiv.org/abs/2406.14548,
https://arxiv.org/abs/2202.00512, https://arxiv.org/abs/2101.02388, https://arxiv.org/abs/2210.03142
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from diffaug.diffusion.denoiser import Denoiser
from diffaug.diffusion.schedule import Schedule, along
from diffaug.models.module import DiffusionModel

__all__ = ["Consistency", "Distillation", "Progressive", "Teacher", "ddim_step"]


def ddim_step(schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """From `x_t` (B, ...) at times `t` (B,) to times `s` (B,), given estimates of x_0.

    Time 0 is the clean sample, here and below, as it is where a trajectory ends.
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = _at(schedule, t, x_t), _at(schedule, s, x_t)
    return alpha_s * x_0 + sigma_s * (x_t - alpha_t * x_0) / sigma_t.clamp(min=1e-6)


def _at(schedule: Schedule, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Signal and noise at times `t` (B,), in the shape of a batch."""
    is_clean = t == 0
    alpha = schedule.alpha(t).masked_fill(is_clean, 1)
    return along(alpha, like), along(schedule.sigma(t).masked_fill(is_clean, 0), like)


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model that is imitated.

    Attributes:
        denoiser: the model, for inference.
        guidance: the scale that samples with a class are guided by.
        gap: how many times lie between two of its calls.
    """

    denoiser: Denoiser
    guidance: float
    gap: int

    def estimate(self, x_t: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        """Its guided estimate of x_0 (B, ...); the class "no class" is not guided."""
        denoiser = self.denoiser
        with torch.autocast(x_t.device.type, enabled=False), torch.no_grad():
            if self.guidance == 1 or denoiser.null_class is None:
                return denoiser(x_t, t, classes)
            nothing = torch.full_like(classes, denoiser.no_class)
            pairs = ((x_t, x_t), (t, t), (classes, nothing))
            output = denoiser.network(*(torch.cat(pair) for pair in pairs)).float()
            towards, away = output.chunk(2)
            unguided = torch.ones(len(x_t), device=x_t.device)
            scale = unguided.masked_fill(classes != denoiser.null_class, self.guidance)
            return denoiser.estimate(x_t, t, away + along(scale, away) * (towards - away))

    def arrive(self, x_t: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        """Where its way from times `t` ends.

        Samples that are nearer to the end take shorter steps, and all arrive together.
        """
        steps = max(1, round(int(t.max()) / self.gap))
        before = t
        for step in range(1, steps + 1):
            after = t - torch.round(t * (step / steps)).long()
            x_0 = self.estimate(x_t, before, classes)
            x_s = ddim_step(self.denoiser.schedule, x_t, x_0, before, after)
            x_t, before = torch.where(along(before, x_t) == 0, x_t, x_s), after
        return x_t


@dataclass(frozen=True, slots=True)
class Distillation(ABC):
    """What both objectives have.

    Attributes:
        teacher: who is imitated.
        span: the first and the last time that is taught.
        class_dropout: probability of dropping a label.
    """

    teacher: Teacher
    span: tuple[int, int]
    class_dropout: float

    def loss(self, model: DiffusionModel, x_0: Tensor, labels: Tensor) -> Tensor:
        """The mean squared error of the network's prediction, against what would make its estimate
        the target."""
        denoiser, count = model.denoiser, len(x_0)
        dropped = torch.rand(count) < self.class_dropout
        shown = labels.masked_fill(dropped, denoiser.no_class) if denoiser.classes else labels
        classes = shown.to(x_0.device)
        low, high = self.span
        t = torch.randint(low, high + 1, (count,)).to(x_0.device)
        x_t = denoiser.schedule.add_noise(x_0, t, torch.randn(x_0.shape).to(x_0.device))
        with torch.no_grad():
            target = self.target(model, x_t, t, classes)
        alpha, sigma = _at(denoiser.schedule, t, x_t)
        wanted = denoiser.target(target, (x_t - alpha * target) / sigma, t)
        output = denoiser.network(x_t, t, classes).float()
        return (output - wanted).square().mean()

    @abstractmethod
    def target(self, model: DiffusionModel, x_t: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        """The estimate to be learned at times `t`."""


class Consistency(Distillation):
    """Estimates agree along the teacher's way."""

    __slots__ = ()

    def target(self, model: DiffusionModel, x_t: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        """The student's own estimate one step of the teacher later; at the end, what is there."""
        s = t - self.teacher.gap
        s = torch.where(s < self.span[0], 0, s)
        estimate = self.teacher.estimate(x_t, t, classes)
        x_s = ddim_step(self.teacher.denoiser.schedule, x_t, estimate, t, s)
        return torch.where(along(s, x_s) == 0, x_s, model.denoiser(x_s, s, classes))


class Progressive(Distillation):
    """The estimate is where all of the teacher's steps arrive."""

    __slots__ = ()

    def target(self, model: DiffusionModel, x_t: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        """Where they do."""
        return self.teacher.arrive(x_t, t, classes)
