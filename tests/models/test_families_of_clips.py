"""Models of video against diffusers' own pipeline: same clip, noise, prompt and times."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AnimateDiffVideoToVideoPipeline, DPMSolverMultistepScheduler
from numpy.typing import NDArray

import diffaug
from diffaug.clips.arrays import clip_of_array
from diffaug.clips.clip import Selection
from diffaug.editor import Draft, PictureEditor, Source
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models import checkpoint_of
from diffaug.recipe import Recipe
from tests.support import tiny
from tests.support.clips import container, decoded, moving, write_clips
from tests.support.jobs import augmented, output_bytes

pytestmark = [
    pytest.mark.numerics,
    # diffusers' scheduler takes a list of times the way numpy 1 did
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

FRAMES = 5
EXECUTION = Execution(batch_size=2, dtype="float32")
FIELDS: dict[str, Any] = {"medium": "clip", "sampler": "ddim", "steps": 5, "strength": 0.7}


def smooth(seed: int) -> NDArray[np.uint8]:
    return moving(FRAMES, (32, 32), seed=seed)


def planned(folder: Path, count: int = 3, **fields: Any) -> tuple[PictureEditor, list[Any]]:
    recipe = Recipe(model=str(folder), **(FIELDS | fields))
    editor = PictureEditor(recipe, checkpoint_of(recipe), EXECUTION)
    edits = []
    for seed in range(count):
        clip = clip_of_array(smooth(seed), Selection())
        (draft,) = editor.plan(Source(image=clip, stored=clip), [0])
        assert isinstance(draft, Draft)
        edits.append(draft.edit)
    return editor, edits


def made_of(editor: PictureEditor, edits: list[Any]) -> list[NDArray[np.float32]]:
    found = dict(editor.steps().run(enumerate(edits)))
    return [np.asarray(found[number]) for number in range(len(edits))]


@pytest.mark.parametrize(
    ("prediction", "guidance"),
    [
        ("epsilon", 4.0),
        pytest.param("epsilon", 1.0, marks=pytest.mark.proof),
        pytest.param("v_prediction", 4.0, marks=pytest.mark.proof),
        pytest.param("v_prediction", 1.0, marks=pytest.mark.proof),
    ],
)
def test_animatediff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prediction: str, guidance: float
) -> None:
    folder = tiny.animatediff(tmp_path, FRAMES, prediction)
    told: dict[str, Any] = {"negative_prompt": "blurry"} if guidance > 1 else {}
    editor, edits = planned(folder, prompt="a cat that runs", guidance=guidance, **told)
    pipeline: Any = AnimateDiffVideoToVideoPipeline.from_pretrained(folder)
    config = {**pipeline.scheduler.config}
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(config, solver_order=1)
    pipeline.set_progress_bar_config(disable=True)
    for seed, (edit, made) in enumerate(zip(edits, made_of(editor, edits), strict=True)):
        noise = torch.from_numpy(edit.noise[0]).reshape(1, FRAMES, -1, 8, 8)
        monkeypatch.setattr(
            "diffusers.pipelines.animatediff.pipeline_animatediff_video2video.randn_tensor",
            lambda *_, noise=noise, **__: noise,
        )
        frames = pipeline(
            video=list(torch.from_numpy(smooth(seed)).permute(0, 3, 1, 2).float() / 255),
            prompt="a cat that runs",
            height=32,
            width=32,
            strength=1.0,
            timesteps=list(edit.trajectory.timesteps),
            guidance_scale=guidance,
            output_type="np",
            **told,
        ).frames[0]
        ours = made.reshape(FRAMES, 3, 32, 32).transpose(0, 2, 3, 1)
        difference = np.abs(np.clip(ours / 2 + 0.5, 0, 1) - frames).max()
        print(f"max abs difference {difference:.1e}")
        assert difference < 1e-3


def test_neighbours_change_no_bit(tmp_path: Path) -> None:
    folder = tiny.animatediff(tmp_path, FRAMES)
    editor, edits = planned(folder, prompt="a dog", guidance=3)
    together = made_of(editor, edits)
    for edit, made in zip(edits, together, strict=True):
        np.testing.assert_array_equal(made_of(editor, [edit])[0], made)


def test_frames_heed_one_another(tmp_path: Path) -> None:
    editor, (edit, *_) = planned(tiny.animatediff(tmp_path, FRAMES), prompt="a dog")
    other = edit.x_0.copy()
    other[-3:] = -other[-3:]  # the last frame
    one, changed = made_of(editor, [edit, replace(edit, x_0=other)])
    assert np.abs(one[:3] - changed[:3]).max() > 1e-4


def test_a_job(tmp_path: Path) -> None:
    """Of clips of any size, with the model's number of frames; others are failed rows."""
    folder = tiny.animatediff(tmp_path / "model", FRAMES)
    frames = {"a": moving(FRAMES), "b": moving(FRAMES, (32, 32), seed=1), "c": moving(4)}
    source = {key: container(clip) for key, clip in frames.items()}
    shard = write_clips(tmp_path / "clips.tar", source)
    fields = {"model": str(folder), "prompt": "a cat", "guidance": 2, "steps": 5, "copies": 2}
    fields |= {"sampler": "ddim", "strength": 0.6}
    output = tmp_path / "out"
    rows = augmented([shard], output, batch_size=2, dtype="float32", **fields)
    assert rows[rows.source_key == "c"].reason_code.tolist() == ["other_length"] * 2
    good = rows[rows.source_key != "c"]
    assert (good.status == "ok").all()
    assert (good.medium == "clip").all()
    for row in good.itertuples():
        made, _ = decoded(output_bytes(output, row))
        assert made.shape == frames[str(row.source_key)].shape
    recipe = fields | {"medium": "clip", "copies": 1}
    alone = diffaug.augment(source["a"], recipe, batch_size=2, dtype="float32")
    assert alone == output_bytes(output, next(good[good.source_key == "a"].itertuples()))


def test_without_a_card_it_takes_sixteen_frames(tmp_path: Path) -> None:
    folder = tiny.animatediff(tmp_path / "named", FRAMES)
    named = checkpoint_of(Recipe(model=str(folder)))
    plain = shutil.copytree(folder, tmp_path / "plain")
    (plain / "README.md").unlink()
    without = checkpoint_of(Recipe(model=str(plain)))
    assert (named.frames, without.frames) == (FRAMES, 16)
    assert without.digest != named.digest


@pytest.mark.parametrize(
    ("frames", "unet", "said"),
    [
        (33, {}, "given 33 frames, and its UNet takes at most 32"),
        (FRAMES, {"in_channels": 9}, "takes 9 channels, returns 4, and latents have 4"),
        (FRAMES, {"cross_attention_dim": 48}, "prompts that are 48 wide"),
    ],
)
def test_what_it_would_fail_with(
    tmp_path: Path, frames: int, unet: dict[str, Any], said: str
) -> None:
    folder = tiny.animatediff(tmp_path, frames, **unet)
    with pytest.raises(ConfigError, match=said):
        planned(folder, prompt="a cat")


def test_its_frames_have_noise_of_their_own(tmp_path: Path) -> None:
    folder = tiny.animatediff(tmp_path, FRAMES)
    with pytest.raises(ConfigError, match=r"noise_time: .*takes a clip as a whole"):
        planned(folder, prompt="a cat", noise_time="shared")
    with pytest.raises(ConfigError, match="takes clips of 5 frames; give medium=clip"):
        planned(folder, prompt="a cat", medium="image")


def test_a_lora(tmp_path: Path) -> None:
    folder, lora = tiny.animatediff(tmp_path / "model", FRAMES), tiny.lora(tmp_path / "lora")
    plain, _ = planned(folder, prompt="a cat")
    editor, edits = planned(folder, prompt="a cat", lora=str(lora))
    assert np.abs(made_of(editor, edits)[0] - made_of(plain, edits)[0]).max() > 1e-4
