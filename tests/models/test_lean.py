"""The lean UNet2D against diffusers' own, and what is left to diffusers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffaug.models.card import SHIPPED
from diffaug.models.families.lean import LeanUNet2D, lean_unet2d

PLAIN: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 8,
    "norm_num_groups": 4,
    "num_class_embeds": 5,
}
OTHERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no classes": {"num_class_embeds": None},
    "grey, with a variance": {"in_channels": 1, "out_channels": 2},
    "attention first": {
        "down_block_types": ("AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D"),
    },
    "three layers": {"layers_per_block": 3},
    "three sizes": {
        "block_out_channels": (8, 8, 24),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D", "AttnUpBlock2D"),
    },
    "one size": {
        "block_out_channels": (8,),
        "down_block_types": ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",),
    },
    "one head": {"attention_head_dim": None},
    "other groups in the middle": {"attn_norm_num_groups": 2},
    "no attention in the middle": {"add_attention": False},
    "another time": {"time_embedding_dim": 20, "flip_sin_to_cos": False, "freq_shift": 1},
    "another eps": {"norm_eps": 1e-3},
}


def saved(folder: Path, **fields: Any) -> tuple[UNet2DModel, dict[str, Any]]:
    torch.manual_seed(3)
    network = UNet2DModel(**PLAIN | fields)
    network.save_pretrained(folder)
    return network, json.loads((folder / "config.json").read_text())


def pair(folder: Path, dtype: torch.dtype, **fields: Any) -> tuple[Any, Any]:
    """The network of diffusers and ours, both as they would be run."""
    _, config = saved(folder, **fields)
    theirs: Any = UNet2DModel.from_pretrained(folder, torch_dtype=dtype).eval()
    theirs.to(memory_format=torch.channels_last).requires_grad_(False)
    ours = lean_unet2d(folder, config, dtype)
    assert ours is not None
    return theirs, ours


def predictions(theirs: Any, ours: Any, rows: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    config, random = theirs.config, torch.Generator().manual_seed(5)
    size = config.sample_size
    x = torch.randn(rows, config.in_channels, size, size, generator=random, dtype=torch.float64)
    t = torch.randint(0, 1000, (rows,), generator=random)
    classes = torch.randint(0, 5, (rows,), generator=random)
    labels = classes if config.num_class_embeds else None
    with torch.inference_mode():
        given = x.to(dtype, memory_format=torch.channels_last)
        expected = theirs(given, t, class_labels=labels).sample[:, : config.in_channels]
        found = ours(x, t, classes)
    assert found.dtype == expected.dtype == dtype
    return expected.double(), found.double()


@pytest.mark.parametrize("name", OTHERS)
def test_it_predicts_what_diffusers_does(name: str, tmp_path: Path) -> None:
    """In double precision, where rounding is no excuse."""
    theirs, ours = pair(tmp_path, torch.float64, **OTHERS[name])
    for rows in (1, 2, 7, 65):
        expected, found = predictions(theirs, ours, rows, torch.float64)
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9), rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_it_rounds_no_worse_than_diffusers(dtype: torch.dtype, tmp_path: Path) -> None:
    """On feature maps large enough to be enlarged in one step, and small enough for float32."""
    fields: dict[str, Any] = {"sample_size": 32, "block_out_channels": (32, 48)}
    exact, _ = predictions(*pair(tmp_path, torch.float64, **fields), 32, torch.float64)
    rounded = predictions(*pair(tmp_path, dtype, **fields), 32, dtype)
    errors = [(one - exact).square().mean() for one in rounded]
    assert 0 < errors[1] < 1.1 * errors[0]


def test_it_enlarges_in_one_step(tmp_path: Path) -> None:
    """Where it pays: without this, the tests above would show nothing of it."""
    _, ours = pair(tmp_path, torch.float32)
    with torch.inference_mode(), torch.profiler.profile() as profile:
        ours(torch.randn(2, 3, 8, 8), torch.tensor([3, 900]), torch.tensor([0, 4]))
    kinds = {event.key for event in profile.key_averages()}
    assert "aten::conv_transpose2d" in kinds
    assert "aten::upsample_nearest2d" not in kinds


def test_it_can_be_moved_with_all_that_it_prepared(tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path, torch.float32)
    expected, found = predictions(theirs.double(), ours.double(), 2, torch.float64)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
    elsewhere = ours.to("meta")  # as near to a GPU as any machine has
    given = (torch.randn(2, 3, 8, 8), torch.tensor([3, 900]), torch.tensor([0, 4]))
    assert elsewhere(*(one.to("meta") for one in given)).shape == (2, 3, 8, 8)


def test_what_it_is_given_stays(tmp_path: Path) -> None:
    _, config = saved(tmp_path)
    network = lean_unet2d(tmp_path, config, torch.float32)
    assert network is not None
    x = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    t, classes = torch.tensor([3, 900]), torch.tensor([0, 4])
    before = [part.clone() for part in (x, t, classes)]
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    first = network(x, t, classes)
    assert torch.equal(first, network(x, t, classes))
    assert all(map(torch.equal, before, (x, t, classes)))
    assert all(torch.equal(weight, weights[name]) for name, weight in network.state_dict().items())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("act_fn", "gelu"),
        ("center_input_sample", True),
        ("downsample_padding", 0),
        ("downsample_type", "resnet"),
        ("dropout", 0.1),
        ("mid_block_scale_factor", 1.5),
        ("mid_block_type", None),
        ("resnet_time_scale_shift", "scale_shift"),
        ("time_embedding_type", "fourier"),
        ("upsample_type", "resnet"),
        ("down_block_types", ("DownBlock2D", "ResnetDownsampleBlock2D")),
        ("up_block_types", ("ResnetUpsampleBlock2D", "UpBlock2D")),
        ("attention_head_dim", 5),
        ("block_out_channels", (8, 16, 16)),
        ("norm_num_groups", 3),
        ("a_field_of_tomorrow", 1),
    ],
)
def test_other_networks_are_left_to_diffusers(field: str, value: object, tmp_path: Path) -> None:
    _, config = saved(tmp_path)
    assert lean_unet2d(tmp_path, config | {field: value}, torch.float32) is None


@pytest.mark.parametrize("fault", ["missing", "unexpected", "shape", "torn", "no file", "field"])
def test_what_is_not_in_order_is_left_to_diffusers(fault: str, tmp_path: Path) -> None:
    """Whose loader then says what is wrong."""
    _, config = saved(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    if fault == "missing":
        del weights["conv_in.bias"]
    elif fault == "unexpected":
        weights["more.bias"] = weights["conv_in.bias"].clone()
    elif fault == "shape":
        weights["conv_in.bias"] = weights["conv_in.bias"][:4].clone()
    elif fault == "field":
        del config["norm_eps"]
    save_file(weights, path, {"format": "pt"})
    if fault == "torn":
        path.write_bytes(path.read_bytes()[:-100])
    elif fault == "no file":
        path.unlink()
    assert lean_unet2d(tmp_path, config, torch.float32) is None


@pytest.mark.parametrize("name", sorted(path.name for path in SHIPPED.iterdir()))
def test_shipped_models_are_such(name: str) -> None:
    from diffaug.models import find_checkpoint

    folder = find_checkpoint(name).part("unet")
    config = json.loads((folder / "config.json").read_text())
    assert isinstance(lean_unet2d(folder, config, torch.bfloat16), LeanUNet2D)
