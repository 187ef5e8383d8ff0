"""The TrainRecipe: everything that defines a training, except the machine."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BeforeValidator, Field

from diffaug.recipe.fields import ShardFields

__all__ = ["NETWORKS", "TrainRecipe"]

NETWORKS: dict[str, dict[str, Any]] = {
    "tiny": {
        "block_out_channels": [16, 32, 32],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D"] * 3,
        "up_block_types": ["UpBlock2D"] * 3,
        "norm_num_groups": 8,
        "attention_head_dim": 32,
    },
    "small": {
        "block_out_channels": [32, 64, 112],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D"] * 3,
        "up_block_types": ["UpBlock2D"] * 3,
        "norm_num_groups": 8,
        "attention_head_dim": 56,
    },
    "base": {
        "block_out_channels": [128, 256, 256, 256],
        "layers_per_block": 2,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "norm_num_groups": 32,
        "attention_head_dim": 64,
        "dropout": 0.1,
    },
}
"""Fields of diffusers' `UNet2DModel` by preset: about 0.3, 2 and 36 million parameters."""

_SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    "scaled-linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
}

_PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "x_0": "sample"}


_OWN_FIELDS = {
    "sample_size": "size",
    "in_channels": "channels",
    "out_channels": "channels",
    "num_class_embeds": "classes",
    "class_embed_type": "classes",
}
"""Fields of `UNet2DModel` that the recipe's own fields determine."""


def _check_network(value: Any) -> Any:
    """A preset's name, or a mapping of a preset and the fields that differ from it."""
    if isinstance(value, str):
        value = {"preset": value}
    if not isinstance(value, dict) or str(value.get("preset", "small")) not in NETWORKS:
        raise ValueError(
            f"network must be {', '.join(NETWORKS)}, or a mapping of a preset and the fields of "
            f"diffusers' UNet2DModel that differ from it, got {value!r}"
        )
    for name in value:
        if name in _OWN_FIELDS:
            raise ValueError(f"network: omit {name}, and give {_OWN_FIELDS[name]} instead")
    return {"preset": "small"} | {name: _parsed(field) for name, field in value.items()}


def _parsed(value: Any) -> Any:
    """The value of a string from a YAML file (see `Fields.from_yaml`)."""
    if isinstance(value, (list, tuple)):
        return [_parsed(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        found = yaml.safe_load(value)
        return float(found) if isinstance(found, str) else found  # YAML reads 1e-5 as text
    except (yaml.YAMLError, ValueError):
        return value


def _or_none(value: Any) -> Any:
    """The value of an optional field, which a flag or a file may set to `none`."""
    return None if isinstance(value, str) and value.strip().lower() == "none" else value


def _check_channels(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else _or_none(value)


def _check_classes(value: Any) -> Any:
    """A number of classes, or their names: `10`, or `cat,dog`, or a list."""
    if isinstance(value, str) and "," in value:
        value = value.split(",")
    if isinstance(value, (list, tuple)):
        return tuple(str(name).strip() for name in value if str(name).strip())
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = -1
    if count < 0:
        raise ValueError(
            f"classes is a number, 0 or more, or names separated by commas, got {value!r}"
        )
    return count


class TrainRecipe(ShardFields):
    """How a denoiser is trained. Immutable; a wrong value raises a `ConfigError`."""

    what: ClassVar[str] = "training recipe"

    network: Annotated[
        dict[str, Any],
        BeforeValidator(_check_network, json_schema_input_type=str | dict[str, Any]),
    ] = Field(
        {"preset": "small"},
        description="tiny, small or base; in a file also a mapping: a preset, and the fields of "
        "diffusers' UNet2DModel that differ from it",
    )
    init: Annotated[str | None, BeforeValidator(_or_none)] = Field(
        None,
        description="model to start from, as --model takes it, with the same network, size, "
        "channels and number of classes; none starts from random weights",
    )
    size: Annotated[int | None, BeforeValidator(_or_none)] = Field(
        None,
        ge=8,
        multiple_of=8,
        description="width and height of the model, a multiple of 8; none fits the first hundred "
        "images",
    )
    channels: Annotated[Literal[1, 3] | None, BeforeValidator(_check_channels)] = Field(
        None, description="1 (grey) or 3 (RGB); none means RGB if one of those images is RGB"
    )
    classes: Annotated[
        int | tuple[str, ...],
        BeforeValidator(_check_classes, json_schema_input_type=int | str | list[str]),
    ] = Field(
        0,
        description="number of classes that condition the model, or their names; 0 for none. The "
        "label member holds the class number, from 0",
    )
    unlabelled: Literal["skip", "keep"] = Field(
        "skip",
        description="a sample without a label member, if classes condition the model: skip it, or "
        "keep it and train on it without a class",
    )
    class_dropout: float = Field(
        0.2,
        ge=0,
        le=1,
        description="probability of dropping the label in training, so the model also works "
        "unconditionally",
    )
    flip: bool = Field(
        False, description="mirror half of the images, left to right, each epoch anew"
    )
    crop: float = Field(
        0,
        ge=0,
        lt=1,
        description="largest share of the width, and of the height, that is cut off an image, at a "
        "random place and each epoch anew; 0 trains on whole images",
    )
    schedule: Literal["linear", "scaled-linear", "cosine"] = Field(
        "linear", description="noise schedule: linear, scaled-linear or cosine"
    )
    prediction: Literal["epsilon", "v", "x_0"] = Field(
        "v", description="what the network predicts: epsilon (the noise), v or x_0"
    )
    min_snr_gamma: Annotated[float | None, BeforeValidator(_or_none)] = Field(
        None, gt=0, description="gamma of min-SNR loss weighting (5 is usual); none weighs evenly"
    )
    steps: int = Field(10_000, ge=1, description="optimizer steps")
    batch_size: int = Field(64, ge=1, le=65536, description="images per step")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate of AdamW")
    warmup_steps: int = Field(
        500,
        ge=0,
        description="steps to the peak learning rate, at most half of all; then it decays to 0",
    )
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW")
    clip_norm: float = Field(1.0, gt=0, description="maximum norm of the gradient")
    ema_decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="decay of the exponential average of the weights, after its warm-up",
    )
    shuffle: int = Field(2000, ge=1, description="samples in the shuffle buffer in memory")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of weights, order, times and noise")

    @property
    def class_count(self) -> int:
        """Number of classes that condition the model."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; their numbers if they have no names."""
        if isinstance(self.classes, int):
            return tuple(str(label) for label in range(self.classes))
        return self.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image.

        Raises:
            ValueError: size or channels is None (see `data.settle`).
        """
        if self.size is None or self.channels is None:
            raise ValueError("size and channels are not settled yet")
        return self.channels, self.size, self.size

    def unet_config(self) -> dict[str, Any]:
        """Fields of the `UNet2DModel` to train."""
        given = dict(self.network)
        preset = NETWORKS[given.pop("preset")]
        channels, size, _ = self.shape
        own = {"sample_size": size, "in_channels": channels, "out_channels": channels}
        return own | preset | given

    def schedule_config(self) -> dict[str, Any]:
        """Fields of the diffusers scheduler to train on."""
        return {"num_train_timesteps": 1000, **_SCHEDULES[self.schedule]}

    @property
    def prediction_type(self) -> Any:
        """Diffusers' name of the prediction."""
        return _PREDICTIONS[self.prediction]
