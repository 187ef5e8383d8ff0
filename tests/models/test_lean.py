"""The lean UNet2D against diffusers' own, bit for bit, and what is left to diffusers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file

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


def copied(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights at aligned addresses, as ours are.

    diffusers leaves weights of the wanted dtype in the mapped file, at any address, and without
    AVX-512 the last bits of a product of matrices depend on it.
    """
    return {name: weight.clone() for name, weight in network.state_dict().items()}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_it_gives_the_bits_of_diffusers(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    _, config = saved(tmp_path, **OTHERS[name])
    theirs: Any = UNet2DModel.from_pretrained(tmp_path, torch_dtype=dtype).eval()
    theirs.load_state_dict(copied(theirs), assign=True)
    theirs.to(memory_format=torch.channels_last).requires_grad_(False)  # which rounds otherwise
    ours = lean_unet2d(tmp_path, config, dtype)
    assert ours is not None
    random = torch.Generator().manual_seed(5)
    for rows in (1, 2, 7, 64, 65):
        x = torch.randn(rows, config["in_channels"], 8, 8, generator=random)
        t = torch.randint(0, 1000, (rows,), generator=random)
        classes = torch.randint(0, 5, (rows,), generator=random)
        with torch.inference_mode():
            found = ours(x, t, classes)
            labels = classes if config["num_class_embeds"] else None
            lasting = x.to(dtype, memory_format=torch.channels_last)
            expected = theirs(lasting, t, class_labels=labels).sample[:, : x.shape[1]]
        assert found.dtype == dtype
        assert torch.equal(found, expected), rows


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


@pytest.mark.parametrize("name", ["cifar10-32", "clothes-128", "fashion-mnist-32"])
def test_shipped_models_are_such(name: str) -> None:
    from diffaug.models import find_checkpoint

    folder = find_checkpoint(name).part("unet")
    config = json.loads((folder / "config.json").read_text())
    assert isinstance(lean_unet2d(folder, config, torch.bfloat16), LeanUNet2D)
