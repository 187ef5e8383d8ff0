"""Objectives of a student: to do in few calls what its teacher does in many, guidance included.

The teacher's way from a noised sample is that of DDIM (Song et al. 2021), which is deterministic:
so it ends at one place, and the student learns where.

- `Consistency` (Song et al. 2023; with a guided teacher, Luo et al. 2023; by tuning a pretrained
  network, Geng et al. 2024): the estimate from a time equals that from the next time on the way.
- `Progressive` (Salimans & Ho 2022): from each of a few times, a single step arrives where the
  teacher's steps do.

Guidance is folded in (Meng et al. 2023): the teacher is guided, and the student is told the class
alone, for the price of one row a call. Without a class, both are unguided.

https://arxiv.org/abs/2303.01469, https://arxiv.org/abs/2310.04378, https://arxiv.org/abs/2406.14548,
https://arxiv.org/abs/2202.00512, https://arxiv.org/abs/2210.03142
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffaug.diffusion.denoiser import Denoiser
from diffaug.diffusion.samplers import SamplerName
from diffaug.diffusion.schedule import Schedule, along
from diffaug.models.module import DiffusionModel

__all__ = ["Consistency", "Distillation", "Progressive", "Teacher", "ddim_step"]


def ddim_step(schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """From `x_t` (B, ...) at times `t` (B,) to times `s` (B,), given estimates of x_0."""
    z = (x_t - along(schedule.alpha(t), x_t) * x_0) / along(schedule.sigma(t), x_t)
    return along(schedule.alpha(s), x_t) * x_0 + along(schedule.sigma(s), x_t) * z


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

    def way(
        self, x_t: Tensor, t: Tensor, s: Tensor, classes: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Its steps from times `t` to earlier times `s`: (x, times) after each.

        Samples that are nearer to their end take shorter steps, and all arrive together.
        """
        steps = max(1, round(int((t - s).max()) / self.gap))
        for step in range(1, steps + 1):
            after = t - torch.round((t - s) * (step / steps)).long()
            before = t - torch.round((t - s) * ((step - 1) / steps)).long()
            x_0 = self.estimate(x_t, before, classes)
            x_t = ddim_step(self.denoiser.schedule, x_t, x_0, before, after)
            yield x_t, after

    def arrive(self, x_t: Tensor, t: Tensor, s: Tensor, classes: Tensor) -> Tensor:
        """Where its way from times `t` is at earlier times `s`."""
        *_, (x_s, _) = self.way(x_t, t, s, classes)
        return x_s


@dataclass(frozen=True, slots=True)
class Distillation(ABC):
    """What both objectives have.

    Attributes:
        teacher: who is imitated.
        grid: the times at which the student is called, rising.
        class_dropout: probability of dropping a label.
    """

    sampler: ClassVar[SamplerName]
    """What its students are called by."""
    stepwise: ClassVar[bool]
    """Whether a student goes from each time of the grid to the one below."""

    teacher: Teacher
    grid: tuple[int, ...]
    class_dropout: float

    def loss(self, model: DiffusionModel, x_0: Tensor, labels: Tensor) -> Tensor:
        """The mean squared error of the network's prediction, against what would make its estimate
        the target."""
        denoiser, count = model.denoiser, len(x_0)
        dropped = torch.rand(count) < self.class_dropout
        shown = labels.masked_fill(dropped, denoiser.no_class) if denoiser.classes else labels
        classes = shown.to(x_0.device)
        places = torch.randint(len(self.grid), (count,))
        t = torch.tensor(self.grid)[places].to(x_0.device)
        x_t = denoiser.schedule.add_noise(x_0, t, torch.randn(x_0.shape).to(x_0.device))
        target = self._target(model, x_t, t, places, classes).detach()
        alpha, sigma = (
            along(one(t), x_t) for one in (denoiser.schedule.alpha, denoiser.schedule.sigma)
        )
        wanted = denoiser.target(target, (x_t - alpha * target) / sigma, t)
        output = denoiser.network(x_t, t, classes).float()
        return (output - wanted).square().mean()

    @property
    @abstractmethod
    def steps(self) -> int:
        """Calls of a whole trajectory that a student's card suggests."""

    @property
    @abstractmethod
    def times(self) -> str | list[int]:
        """The times taught, as a card states them: a list, or a span lo:hi."""

    @abstractmethod
    def _target(
        self, model: DiffusionModel, x_t: Tensor, t: Tensor, places: Tensor, classes: Tensor
    ) -> Tensor:
        """The estimate to be learned at times `t`, which are at these places of the grid."""

    @abstractmethod
    def follow(self, model: DiffusionModel, x_t: Tensor, t: int, classes: Tensor) -> Tensor:
        """Where the student's own way ends, from one of its times."""


class Consistency(Distillation):
    """Estimates agree along the teacher's way: one call arrives at its end, from any time."""

    __slots__ = ()
    sampler, stepwise = "lcm", False

    @property
    def steps(self) -> int:
        """Two calls at most strengths."""
        return 5

    @property
    def times(self) -> str:
        """All between the lowest and the highest."""
        return f"{self.grid[0]}:{self.grid[-1]}"

    def _target(
        self, model: DiffusionModel, x_t: Tensor, t: Tensor, places: Tensor, classes: Tensor
    ) -> Tensor:
        """The student's own estimate one step of the teacher later; at the end, what is there."""
        s = t - self.teacher.gap
        s = torch.where(s < self.grid[0], 0, s)
        estimate = self.teacher.estimate(x_t, t, classes)
        x_s = ddim_step(self.teacher.denoiser.schedule, x_t, estimate, t, s)
        with torch.no_grad():
            later = model.denoiser(x_s, s, classes)
        return torch.where(along(s, x_s) == 0, x_s, later)

    def follow(self, model: DiffusionModel, x_t: Tensor, t: int, classes: Tensor) -> Tensor:
        """One call."""
        return model.denoiser(x_t, torch.full((len(x_t),), t, device=x_t.device), classes)


class Progressive(Distillation):
    """One step between two times of the grid arrives where the teacher's steps do."""

    __slots__ = ()
    sampler, stepwise = "ddim", True

    @property
    def steps(self) -> int:
        """A call for each time of the grid."""
        last = self.teacher.denoiser.schedule.num_train_timesteps - 1
        return max(1, round(len(self.grid) * last / self.grid[-1]))

    @property
    def times(self) -> list[int]:
        """Those of the grid."""
        return list(self.grid)

    def _target(
        self, model: DiffusionModel, x_t: Tensor, t: Tensor, places: Tensor, classes: Tensor
    ) -> Tensor:
        """The estimate that DDIM would have to be given for that."""
        schedule = self.teacher.denoiser.schedule
        s = torch.tensor((0, *self.grid))[places].to(x_t.device)
        x_s = self.teacher.arrive(x_t, t, s, classes)
        ratio = schedule.sigma(s) / schedule.sigma(t)
        share = schedule.alpha(s) - ratio * schedule.alpha(t)
        return (x_s - along(ratio, x_t) * x_t) / along(share, x_t)

    def follow(self, model: DiffusionModel, x_t: Tensor, t: int, classes: Tensor) -> Tensor:
        """A call at each time of the grid."""
        times = [0, *(time for time in self.grid if time <= t)]
        denoiser, device = model.denoiser, x_t.device
        for before, after in zip(times[:0:-1], times[-2::-1], strict=True):
            now, then = (torch.full((len(x_t),), one, device=device) for one in (before, after))
            x_t = ddim_step(denoiser.schedule, x_t, denoiser(x_t, now, classes), now, then)
        return x_t
