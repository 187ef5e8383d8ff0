"""Every family against diffusers' own pipeline: same image, noise, prompt and times.

Their grids differ from ours, so the pipeline is given the list of times, with a scheduler that
takes one: `DPMSolverMultistepScheduler(solver_order=1)`, whose step is DDIM's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    AutoencoderTiny,
    LatentConsistencyModelImg2ImgPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffaug.diffusion.edit import Edit
from diffaug.diffusion.samplers import trajectory
from diffaug.editor import PictureEditor
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models import checkpoint_of, find_checkpoint, load_model
from diffaug.recipe import Recipe
from tests.support import tiny
from tests.support.drafts import draft_copies
from tests.support.pipelines import edited, first_order

# diffusers' scheduler takes a list of times the way numpy 1 did
pytestmark = [
    pytest.mark.numerics,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

FLOAT32 = Execution(batch_size=4, dtype="float32")
PROMPTS = ("a photo of a cat", "a dog", "a very long line of words that is cut off somewhere")


def pictures(count: int = 3) -> Tensor:
    """Smooth random pictures (count, 3, 32, 32) in [-1, 1], made of 8 bits."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    return (smooth * 255).round() / 127.5 - 1


def ours(folder: Path, prompts: Sequence[str] = PROMPTS, **fields: Any) -> tuple[Tensor, Any]:
    """Pictures (n, 3, 32, 32) in [0, 1] as the lanes make them, and the first one's edit."""
    recipe = Recipe(model=str(folder), sampler="ddim", prompt=tuple(prompts), **fields)
    editor = PictureEditor(recipe, checkpoint_of(recipe), FLOAT32)
    edits = []
    for number, picture in enumerate(pictures(len(prompts))):
        levels = ((picture + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
        (draft,) = draft_copies(editor, image_of(levels), {}, [number])
        edits.append(draft.edit)
    made = [x_0 for _, x_0 in editor.steps().run((None, edit) for edit in edits)]
    found = torch.from_numpy(np.stack([one for one in made if one is not None]))
    return (found / 2 + 0.5).clamp(0, 1), edits


def image_of(levels: Any) -> Any:
    from PIL import Image

    return Image.fromarray(levels)


@pytest.fixture
def noises(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], None]:
    """Let a pipeline take our noise where it would draw its own."""

    def give(module: str, edits: Any) -> None:
        noise = torch.from_numpy(np.stack([edit.noise[0] for edit in edits]))
        monkeypatch.setattr(f"{module}.randn_tensor", lambda *_, **__: noise)

    return give


SD_MODULE = "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img"
LCM_MODULE = "diffusers.pipelines.latent_consistency_models.pipeline_latent_consistency_img2img"
XL_MODULE = "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img"


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_stable_diffusion(
    tmp_path: Path, noises: Callable[[str, Any], None], prediction: str, guidance: float
) -> None:
    folder = tiny.stable_diffusion(tmp_path, prediction)
    told = {"negative_prompt": "blurry"} if guidance > 1 else {}
    made, edits = ours(folder, strength=0.7, steps=6, guidance=guidance, **told)
    pipeline: Any = StableDiffusionImg2ImgPipeline.from_pretrained(folder, safety_checker=None)
    noises(SD_MODULE, edits)
    assert gap(made, reference(pipeline, edits, guidance, negative_prompt=["blurry"] * 3)) < 1e-3


@pytest.mark.parametrize(("guidance", "negative"), [(1.0, None), (4.0, None), (4.0, "blurry")])
def test_stable_diffusion_xl(
    tmp_path: Path, noises: Callable[[str, Any], None], guidance: float, negative: str | None
) -> None:
    folder = tiny.stable_diffusion_xl(tmp_path)
    made, edits = ours(folder, strength=0.7, steps=6, guidance=guidance, negative_prompt=negative)
    pipeline: Any = StableDiffusionXLImg2ImgPipeline.from_pretrained(folder, add_watermarker=False)
    noises(XL_MODULE, edits)
    told = {} if negative is None else {"negative_prompt": [negative] * 3}
    assert gap(made, reference(pipeline, edits, guidance, **told)) < 1e-3


def test_a_latent_consistency_model_takes_its_guidance_in_one_call(
    tmp_path: Path, noises: Callable[[str, Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`LCMScheduler` has its own grid, so it sets the times, and its steps' noise is ours."""
    folder = tiny.lcm(tmp_path)
    pipeline: Any = LatentConsistencyModelImg2ImgPipeline.from_pretrained(
        folder, safety_checker=None
    )
    pipeline.scheduler.set_timesteps(4, "cpu", strength=0.6)
    times = tuple(pipeline.scheduler.timesteps.tolist())
    model = load_model(find_checkpoint(str(folder)), FLOAT32)
    way = trajectory("lcm", model.denoiser.schedule, times)
    draw = torch.Generator().manual_seed(1)
    noise = torch.randn(1 + way.draws, 3, 4, 8, 8, generator=draw)
    assert model.embed_guidance is not None
    edits = [
        Edit(
            x_0=picture.numpy(),
            noise=noise[:, number].numpy(),
            trajectory=way,
            condition=(*model.condition(None, prompt), model.embed_guidance(6.0)),
        )
        for number, (picture, prompt) in enumerate(zip(pictures(), PROMPTS, strict=True))
    ]
    made = [x_0 for _, x_0 in model.steps(4).run((None, edit) for edit in edits)]
    noises(LCM_MODULE, edits)
    fresh = iter(noise[1:])
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_lcm.randn_tensor", lambda *_, **__: next(fresh)
    )
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        prompt=list(PROMPTS),
        image=pictures() / 2 + 0.5,
        strength=0.6,
        num_inference_steps=4,
        guidance_scale=6.0,
        output_type="pt",
    ).images
    found = torch.from_numpy(np.stack([one for one in made if one is not None]))
    assert gap((found / 2 + 0.5).clamp(0, 1), images) < 1e-3


def test_a_lora(tmp_path: Path, noises: Callable[[str, Any], None]) -> None:
    folder, lora = tiny.stable_diffusion(tmp_path / "sd"), tiny.lora(tmp_path)
    plain, _ = ours(folder, strength=0.7, steps=6)
    made, edits = ours(folder, strength=0.7, steps=6, lora=str(lora), lora_scale=0.5)
    assert gap(made, plain) > 0.01
    pipeline: Any = StableDiffusionImg2ImgPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.load_lora_weights(tmp_path, weight_name=lora.name)
    noises(SD_MODULE, edits)
    images = reference(pipeline, edits, 1.0, cross_attention_kwargs={"scale": 0.5})
    assert gap(made, images) < 1e-3


def test_textual_inversions(tmp_path: Path, noises: Callable[[str, Any], None]) -> None:
    """One token a class, as DA-Fusion learns them."""
    folder, path = tiny.stable_diffusion(tmp_path / "sd"), tmp_path / "classes.safetensors"
    draw = torch.Generator().manual_seed(0)
    learned = {f"<{name}>": torch.randn(32, generator=draw) for name in ("cat", "dog", "hen")}
    save_file(learned, path)
    prompts = [f"a photo of a {token}" for token in learned]
    made, edits = ours(folder, prompts, strength=0.7, steps=6, embeddings=(str(path),))
    pipeline: Any = StableDiffusionImg2ImgPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.load_textual_inversion([{token: learned[token]} for token in learned])
    noises(SD_MODULE, edits)
    assert gap(made, reference(pipeline, edits, 1.0, prompts)) < 1e-3
    without, _ = ours(folder, prompts, strength=0.7, steps=6)
    assert gap(made, without) > 0.01


def test_a_tiny_autoencoder(tmp_path: Path, noises: Callable[[str, Any], None]) -> None:
    folder = tiny.stable_diffusion(tmp_path / "sd")
    tiny_one = tiny.tiny_autoencoder(tmp_path / "taesd")
    made, edits = ours(folder, strength=0.7, steps=6, autoencoder=str(tiny_one))
    pipeline: Any = StableDiffusionImg2ImgPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.vae = AutoencoderTiny.from_pretrained(tiny_one)
    noises(SD_MODULE, edits)
    assert gap(made, reference(pipeline, edits, 1.0)) < 1e-3


def reference(
    pipeline: Any, edits: Any, guidance: float, prompts: Sequence[str] = PROMPTS, **told: Any
) -> Tensor:
    return edited(first_order(pipeline), pictures(), edits, guidance, prompts, **told)


def gap(one: Tensor, other: Tensor) -> float:
    """The largest difference of two batches of pictures in [0, 1]."""
    found = float((one - other).abs().max())
    print(f"max abs difference {found:.1e}")
    return found


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_a_file_lacks_are_not_drawn_at_random(tmp_path: Path, part: str) -> None:
    folder = tiny.stable_diffusion(tmp_path)
    (path,) = (folder / part).glob("*.safetensors")
    weights = load_file(path)
    lost = weights.popitem()
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ConfigError) as caught:
        load_model(find_checkpoint(str(folder)), FLOAT32)
    assert f"the weights of its {part} do not fit its config.json: 1 missing keys" in str(
        caught.value
    )
    assert lost[0].rpartition(".")[2] in str(caught.value)


@pytest.mark.parametrize(
    "unet",
    [
        {"encoder_hid_dim": 32, "encoder_hid_dim_type": "text_proj", "cross_attention_dim": 24},
        {"addition_embed_type": "text", "addition_embed_type_num_heads": 4},
    ],
)
def test_what_a_unet_makes_of_the_prompt_itself_is_supported(
    tmp_path: Path, noises: Callable[[str, Any], None], unet: dict[str, Any]
) -> None:
    folder = tiny.stable_diffusion(tmp_path, **unet)
    made, edits = ours(folder, strength=0.7, steps=4)
    pipeline: Any = StableDiffusionImg2ImgPipeline.from_pretrained(folder, safety_checker=None)
    noises(SD_MODULE, edits)
    assert gap(made, reference(pipeline, edits, 1.0)) < 1e-3


@pytest.mark.parametrize(
    ("unet", "said"),
    [
        ({"class_embed_type": "identity"}, "has class_embed_type 'identity' in unet/config.json"),
        ({"class_embed_type": "timestep"}, "has class_embed_type 'timestep'"),
        (
            {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 8},
            "has class_embed_type 'projection'",
        ),
        (
            {"class_embed_type": "simple_projection", "projection_class_embeddings_input_dim": 8},
            "has class_embed_type 'simple_projection'",
        ),
        ({"num_class_embeds": 7}, "has num_class_embeds 7"),
        (
            {"encoder_hid_dim": 16, "encoder_hid_dim_type": "image_proj"},
            "has encoder_hid_dim_type 'image_proj'.* supported is None or 'text_proj'",
        ),
        (
            {"encoder_hid_dim": 32, "encoder_hid_dim_type": "text_image_proj"},
            "has encoder_hid_dim_type 'text_image_proj'",
        ),
        (
            {"addition_embed_type": "image", "encoder_hid_dim": 32},
            "has addition_embed_type 'image'",
        ),
        ({"addition_embed_type": "text_image"}, "has addition_embed_type 'text_image'"),
        (
            {
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 80,
            },
            "has addition_embed_type 'text_time'.* supported is None or 'text'",
        ),
        ({"in_channels": 9}, "takes 9 channels and latents have 4: it requires more than an image"),
        ({"out_channels": 8}, "returns 8 channels and latents have 4"),
        ({"sample_size": None}, "its sample_size is not set"),
        (
            {"cross_attention_dim": 48},
            r"takes prompts that are 48 wide \(cross_attention_dim\), and its text_encoder makes "
            "them 32 wide",
        ),
    ],
)
def test_a_unet_that_must_be_given_something_else(
    tmp_path: Path, unet: dict[str, Any], said: str
) -> None:
    refused(tiny.stable_diffusion(tmp_path, **unet), said)


@pytest.mark.parametrize(
    ("unet", "said"),
    [
        ({"addition_embed_type": None}, "has addition_embed_type None.* supported is 'text_time'"),
        (
            {"projection_class_embeddings_input_dim": 5 * 8 + 32},
            r"24 wide \(projection_class_embeddings_input_dim, less the sizes of the picture\)",
        ),
        ({"cross_attention_dim": 32}, "its text_encoder and text_encoder_2 makes them 64 wide"),
    ],
)
def test_a_unet_that_must_be_given_something_else_than_xl(
    tmp_path: Path, unet: dict[str, Any], said: str
) -> None:
    refused(tiny.stable_diffusion_xl(tmp_path, **unet), said)


def test_the_refiner_of_xl_lacks_an_encoder(tmp_path: Path) -> None:
    """And it is given another size, in which its picture's worth is in the place of a size."""
    unet = {"cross_attention_dim": 32, "projection_class_embeddings_input_dim": 5 * 8 + 32}
    folder = tiny.stable_diffusion_xl(tmp_path, **unet)
    index = folder / "model_index.json"
    changes: dict[str, Any] = {"text_encoder": [None, None], "tokenizer": [None, None]}
    changes |= {"requires_aesthetics_score": True}
    changes |= {"_class_name": "StableDiffusionXLImg2ImgPipeline"}
    index.write_text(json.dumps(json.loads(index.read_text()) | changes))
    model = load_model(find_checkpoint(str(folder)), FLOAT32)
    condition = [part[None] for part in model.condition(None, "a cat")]
    assert [part.shape for part in condition] == [(1, 16, 32), (1, 32), (1, 5)]
    x_0 = model.denoiser(torch.zeros(1, 4, 8, 8), torch.tensor([500]), *condition)
    assert x_0.shape == (1, 4, 8, 8)


@pytest.mark.parametrize(
    ("vae", "said"),
    [
        ({"in_channels": 4, "out_channels": 4}, "encodes pictures of 4 channels and decodes"),
        ({"latents_mean": [0.1] * 4, "latents_std": [2.0] * 4}, "latents_mean, latents_std"),
    ],
)
def test_an_autoencoder_of_other_pictures(tmp_path: Path, vae: dict[str, Any], said: str) -> None:
    folder = tiny.stable_diffusion(tmp_path / "sd")
    other: Any = AutoencoderKL(norm_num_groups=4, block_out_channels=(8,), **vae)
    other.save_pretrained(tmp_path / "vae")
    recipe = Recipe(model=str(folder), autoencoder=str(tmp_path / "vae"))
    with pytest.raises(ConfigError, match=said):
        load_model(checkpoint_of(recipe), FLOAT32)


def test_an_autoencoder_of_another_kind(tmp_path: Path) -> None:
    """Of those that diffusers has, it decodes only videos."""
    folder = tiny.stable_diffusion(tmp_path / "sd")
    other: Any = AutoencoderKLTemporalDecoder(block_out_channels=(32,))
    other.save_pretrained(tmp_path / "vae")
    recipe = Recipe(model=str(folder), autoencoder=str(tmp_path / "vae"))
    with pytest.raises(ConfigError, match="of the kind AutoencoderKLTemporalDecoder"):
        load_model(checkpoint_of(recipe), FLOAT32)


def test_a_prompt_that_no_part_can_encode(tmp_path: Path) -> None:
    folder = tiny.stable_diffusion_xl(tmp_path)
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"tokenizer": [None, None]}))
    refused(folder, "it lacks its tokenizer")


def refused(folder: Path, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_model(find_checkpoint(str(folder)), FLOAT32)


def test_guidance_as_an_input_leads_away_from_nothing(tmp_path: Path) -> None:
    folder = tiny.lcm(tmp_path)
    with pytest.raises(ConfigError, match=r"negative_prompt: .* takes guidance as an input"):
        ours(folder, guidance=2.0, negative_prompt="blurry")


def test_a_lora_of_another_model(tmp_path: Path) -> None:
    """diffusers passes over the layers it does not know, and says nothing."""
    folder, path = tiny.stable_diffusion(tmp_path / "sd"), tiny.lora(tmp_path)
    weights = load_file(path)
    moved = {key.replace("down_blocks.1", "down_blocks.7"): one for key, one in weights.items()}
    save_file(moved, tmp_path / "some.safetensors")
    save_file(
        {f"base_model.model.{key}": one for key, one in weights.items()},
        tmp_path / "none.safetensors",
    )
    for name in ("some", "none"):
        with pytest.raises(ConfigError, match=r"^lora: .*"):
            ours(folder, lora=str(tmp_path / f"{name}.safetensors"))


@pytest.mark.parametrize(
    ("token", "width", "said"),
    [("<cat>", 48, "<cat> in x.safetensors is 48 wide"), ("emb_params", 32, "does not name its")],
)
def test_a_textual_inversion_that_does_not_fit(
    tmp_path: Path, token: str, width: int, said: str
) -> None:
    folder = tiny.stable_diffusion(tmp_path / "sd")
    save_file({token: torch.zeros(width)}, tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match=said):
        ours(folder, embeddings=(str(tmp_path / "x.safetensors"),))


def test_embeddings_are_not_for_xl(tmp_path: Path) -> None:
    folder = tiny.stable_diffusion_xl(tmp_path / "xl")
    save_file({"<cat>": torch.zeros(64)}, tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match="takes none; Stable Diffusion 1 and 2 do"):
        ours(folder, embeddings=(str(tmp_path / "x.safetensors"),))
