"""What a training minimises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from diffaug import DiffusionModel
from diffaug.execution import Execution
from diffaug.train.data import Batch, Position
from diffaug.train.denoising import DenoiserTask
from diffaug.train.objective import Denoising
from diffaug.train.trainer import Trainer
from tests.support.training import tiny

LABELS = torch.tensor([0, 1, 2, 3])
EXECUTION = Execution.choose(dtype="float32", device="cpu")
X_0 = torch.linspace(-1, 1, 4 * 64).reshape(4, 1, 8, 8)


@pytest.fixture
def model() -> DiffusionModel:
    return DenoiserTask.new(tiny(classes=10), EXECUTION).trainer.ema_model


@pytest.mark.parametrize(("dropout", "condition"), [(0.0, LABELS), (1.0, None)])
@pytest.mark.parametrize("gamma", [None, 5.0])
def test_denoising_is_the_models_own_loss(
    model: DiffusionModel, dropout: float, condition: Tensor | None, gamma: float | None
) -> None:
    """At the times and with the noise drawn after the labels to drop."""
    torch.manual_seed(0)
    loss = Denoising(10, dropout, gamma).loss(model, X_0, LABELS)
    torch.manual_seed(0)
    torch.rand(4)
    t, noise = torch.randint(1000, (4,)), torch.randn(X_0.shape)
    expected = model(X_0, condition, t=t, noise=noise, min_snr_gamma=gamma).loss
    assert torch.equal(loss, expected)


def test_a_trainer_minimises_the_objective_it_is_given(model: DiffusionModel) -> None:
    class Small:
        def loss(self, model: DiffusionModel, x_0: Tensor, labels: Tensor) -> Tensor:
            assert torch.equal(labels, LABELS)
            return torch.stack([weight.square().sum() for weight in model.parameters()]).sum()

    recipe = tiny(classes=10, weight_decay=0)
    trainer = Trainer(model.requires_grad_(True), recipe, EXECUTION, Small())
    batch = Batch(X_0.numpy(), np.asarray(LABELS), Position())
    losses = [trainer.advance(batch).loss for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
