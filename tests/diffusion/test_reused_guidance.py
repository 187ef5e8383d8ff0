"""Guidance whose difference is kept for some calls: fewer rows, and each sample as if alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import diffaug
from diffaug.audit.replay import replay_rows
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.guidance import reused_calls
from diffaug.diffusion.samplers import timesteps, trajectory
from diffaug.editor import PictureEditor
from diffaug.execution import Execution
from diffaug.job.estimate import estimate
from diffaug.models import Pretrained, checkpoint_of, find_checkpoint
from diffaug.output.run import the_run
from diffaug.recipe import Recipe
from tests.conftest import Cli
from tests.diffusion.test_lanes import results, same, times
from tests.diffusion.test_samplers import BATCH, NO_CLASS, NOISE, X_0, denoiser, noised, tolerance
from tests.support import tiny
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import augmented, part, threads
from tests.support.toys import edit, toy

__all__ = ["denoiser"]  # a fixture


def crooked(x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    """Exact at any batch shape; what a condition changes depends on the sample and its time."""
    pull = (0.5 + condition * 0.0625 + t * condition * 0.0001).view(-1, 1, 1, 1)
    return x_t * pull


@st.composite
def any_guided(draw: st.DrawFn) -> Edit:
    made = edit(
        draw(st.integers(0, 99)),
        draw(times()),
        draw(st.integers(0, 2)),
        draw(st.sampled_from(["ddim", "ddpm", "dpmsolver++"])),
        scale=draw(st.sampled_from([1, 2.5])),
        masked=draw(st.booleans()),
    )
    if made.scales is None:
        return made
    scales = np.where(draw(st.booleans()) and np.arange(len(made.scales)) < 1, 1, made.scales)
    reused = reused_calls(scales.tolist(), draw(st.integers(1, 4)))
    return replace(made, scales=scales.astype(np.float32), reused=reused)


@settings(max_examples=60, deadline=None)
@given(st.lists(any_guided(), max_size=16), st.integers(1, 5), st.integers(1, 3))
def test_neighbours_change_nothing(stream: list[Edit], batch_size: int, side_by_side: int) -> None:
    with threads(side_by_side):
        together = results(toy(crooked), batch_size, stream)
    for one, result in zip(stream, together, strict=True):
        assert same([result], results(toy(crooked), batch_size, [one]))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers'
@pytest.mark.parametrize("every", [1, 2, 3])
def test_it_is_diffusers_solver_with_a_kept_difference(every: int, denoiser: Any) -> None:
    """A loop over diffusers' network and scheduler that calls without the class now and then."""
    way = timesteps(0.6, 10, "dpmsolver++", 1000)
    unet = UNet2DModel.from_pretrained(find_checkpoint("fashion-mnist-32").folder / "unet")
    unet.float().eval().to(memory_format=torch.channels_last)
    reference: Any = DPMSolverMultistepScheduler(
        beta_start=0.0001,
        beta_end=0.02,
        beta_schedule="linear",
        prediction_type="v_prediction",
        solver_order=2,
        algorithm_type="dpmsolver++",
        final_sigmas_type="zero",
    )
    reference.set_timesteps(timesteps=list(way))
    labels, none = torch.tensor([9, 0]), torch.full((BATCH,), NO_CLASS)
    x_t, difference = noised(way[0]), torch.zeros_like(X_0)
    with torch.inference_mode():
        for call, t in enumerate(way):
            seen = x_t.to(memory_format=torch.channels_last)
            towards = unet(seen, t, class_labels=labels).sample
            if call % every == 0:
                difference = towards - unet(seen, t, class_labels=none).sample
            x_t = reference.step(towards + 2 * difference, t, x_t).prev_sample

    scales = np.full(len(way), 3, np.float32)
    free = replace(denoiser, clip=type(denoiser.clip)(), prediction="v_prediction")
    made = results_of(free, way, scales, reused_calls(scales.tolist(), every))
    assert (made - x_t).abs().max() < tolerance(way, "v_prediction")


def results_of(denoiser: Any, times: Any, scales: Any, reused: Any) -> Tensor:
    way = trajectory("dpmsolver++", denoiser.schedule, tuple(times))
    edits = [
        Edit(
            x_0=X_0[i].numpy(),
            noise=NOISE[None, i].numpy(),
            trajectory=way,
            condition=(torch.tensor(label),),
            away=(torch.tensor(NO_CLASS),),
            scales=scales,
            reused=reused,
        )
        for i, label in enumerate((9, 0))
    ]
    steps = Pretrained.of_pictures(denoiser).steps(BATCH)
    found = [result for _, result in steps.run(enumerate(edits))]
    return torch.from_numpy(np.stack([one for one in found if one is not None]))


@pytest.mark.parametrize(
    ("scales", "every", "reused"),
    [
        ([3, 3, 3, 3, 3], 2, [0, 1, 0, 1, 0]),
        ([1, 3, 3, 1, 3], 2, [0, 0, 1, 0, 0]),
        ([3, 3, 3], 9, [0, 1, 1]),
    ],
)
def test_the_first_of_so_many_guided_calls_is_made_anew(
    scales: list[float], every: int, reused: list[int]
) -> None:
    found = reused_calls(scales, every)
    assert found is not None
    assert found.tolist() == list(map(bool, reused))
    given = edit(0, range(900, 0, -100)[: len(scales)], scale=2)
    given = replace(given, scales=np.array(scales, np.float32), reused=found)
    anew = [scale != 1 and not kept for scale, kept in zip(scales, reused, strict=True)]
    assert given.rows == len(scales) + sum(anew)
    assert reused_calls(scales, 1) is None


def test_a_job_pays_for_fewer_rows_and_is_replayed(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"condition": "label", "guidance": 3, "steps": 10, "strength": 0.6}
    fields |= {"sampler": "dpmsolver++"}
    source = write_samples(tmp_path / "s0.tar", fashion(6))
    whole = augmented([source], tmp_path / "whole", **fields)
    frame = augmented([source], tmp_path / "out", **fields, guidance_every=2)
    assert set(frame["status"]) == {"ok"}
    assert not (frame["output_sha256"] == whole["output_sha256"]).any()
    assert [calls_of(tmp_path / name) for name in ("whole", "out")] == [6 * 12, 6 * 9]
    rows, metadata = part(tmp_path / "out")
    assert {replayed.verdict for replayed in replay_rows(rows[::-1], metadata)} == {"equal"}


def calls_of(output: Path) -> int:
    """Network rows of a whole job, as its estimate counts them."""
    run = the_run(str(output))
    return estimate(run, run.sources).calls


def test_a_model_that_is_given_its_guidance_refuses(tmp_path: Path) -> None:
    recipe = Recipe(
        model=str(tiny.flux(tmp_path, dev=True)), prompt="a", guidance=3, guidance_every=2
    )
    with pytest.raises(diffaug.ConfigError, match=r"guidance_every: .* takes guidance as an input"):
        PictureEditor(recipe, checkpoint_of(recipe), Execution(batch_size=4, dtype="float32"))


def test_with_one_call_it_is_refused(tmp_path: Path, cli: Cli) -> None:
    source = write_samples(tmp_path / "s0.tar", fashion(1))
    flags = ["--model=fashion-mnist-32", "--condition=label", "--guidance=3", "--guidance-every=2"]
    said = cli("augment", source, tmp_path / "out", *flags, "--sampler=one-step")
    said.assert_mistake("guidance_every does nothing with one call")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(diffaug.ConfigError, match="guidance_every does nothing at guidance 1"):
        Recipe.of({"guidance_every": 2})
