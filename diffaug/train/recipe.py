"""The TrainRecipe: everything that defines a training, except the machine."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from diffaug.recipe.fields import LABEL_KEY, Fields, LabelKey, ShardFields
from diffaug.train.networks import AUTOENCODERS, NETWORKS, check_network

__all__ = [
    "OF_CLASSES",
    "OF_DENOISERS",
    "LoopRecipe",
    "PictureRecipe",
    "TrainRecipe",
    "or_none",
]

OF_CLASSES = ("class_dropout", "label_key", "unlabelled")
"""Fields that only count if classes condition the model."""
OF_DENOISERS = ("schedule", "prediction", "min_snr_gamma", *OF_CLASSES)
"""Fields that an autoencoder has no use for."""

_SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    "scaled-linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
}

_PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "x_0": "sample"}


def or_none(value: Any) -> Any:
    """The value of an optional field, which a flag or a file may set to `none`."""
    return None if isinstance(value, str) and value.strip().lower() == "none" else value


def _check_channels(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else or_none(value)


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


class LoopRecipe(Fields):
    """What every training has: its classes and its optimizer.

    Attributes:
        settled: the fields that are filled in when a training begins.
    """

    what: ClassVar[str] = "training recipe"
    settled: ClassVar[tuple[str, ...]] = ()

    classes: Annotated[
        int | tuple[str, ...],
        BeforeValidator(_check_classes, json_schema_input_type=int | str | list[str]),
    ] = Field(
        0,
        description="number of classes that condition the model, or their names; 0 for none. The "
        "label member holds the class number, from 0",
    )
    label_key: LabelKey = LABEL_KEY
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
    steps: int = Field(10_000, ge=1, description="optimizer steps")
    batch_size: int = Field(64, ge=1, le=65536, description="samples per step")
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


class PictureRecipe(ShardFields, LoopRecipe):
    """What every training on pictures, or on clips of them, has."""

    settled: ClassVar[tuple[str, ...]] = ("size", "channels")

    size: Annotated[int | None, BeforeValidator(or_none)] = Field(
        None,
        ge=8,
        multiple_of=8,
        description="width and height of the model, a multiple of 8; none fits the first hundred "
        "images",
    )
    channels: Annotated[Literal[1, 3] | None, BeforeValidator(_check_channels)] = Field(
        None, description="1 (grey) or 3 (RGB); none means RGB if one of those images is RGB"
    )
    flip: bool = Field(
        False, description="mirror half of the images, left to right, each epoch anew"
    )
    crop: float = Field(
        0,
        ge=0,
        lt=1,
        description="largest share of the width, and of the height, that is cut off an image, at a "
        "random place and each epoch anew; the rest is enlarged to what the whole would fill; 0 "
        "trains on whole images",
    )

    @model_validator(mode="after")
    def _check_crop(self) -> Self:
        if self.crop and self.fit == "exact":
            raise ValueError(
                "crop: a part of an image never has the size that fit exact asks for: leave one of "
                "them out"
            )
        return self

    @property
    def clip_length(self) -> int | None:
        """How many frames the clips have that are trained on; None: it is pictures."""
        return None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image or a frame.

        Raises:
            ValueError: size or channels is None (see `data.settle`).
        """
        if self.size is None or self.channels is None:
            raise ValueError("size and channels are not settled yet")
        return self.channels, self.size, self.size


class TrainRecipe(PictureRecipe):
    """How a denoiser, or an autoencoder, is trained; a wrong value raises a `ConfigError`."""

    kind: Literal["denoiser", "autoencoder"] = Field(
        "denoiser",
        description="what to train: a denoiser, or an autoencoder for a denoiser to be trained on",
    )
    autoencoder: Annotated[str | None, BeforeValidator(or_none)] = Field(
        None,
        description="autoencoder whose latents the denoiser is trained on: a folder that such a "
        "training or diffusers wrote, one that holds the weights of taef2, or org/name@revision "
        "on the Hugging Face hub; none trains on pixels",
    )
    network: Annotated[
        dict[str, Any],
        BeforeValidator(check_network, json_schema_input_type=str | dict[str, Any]),
    ] = Field(
        {"preset": "small"},
        description="tiny, small or base; in a file also a mapping: a preset, and the fields of "
        "diffusers' UNet2DModel (of an autoencoder: AutoencoderKL) that differ from it",
    )
    init: Annotated[str | None, BeforeValidator(or_none)] = Field(
        None,
        description="model to start from, as --model takes it (of an autoencoder: as --autoencoder "
        "does), with the same network, size, channels and number of classes; none starts from "
        "random weights",
    )
    frames: Annotated[int | None, BeforeValidator(or_none)] = Field(
        None,
        ge=2,
        le=1024,
        description="train on clips of so many frames, a clip being one sample; of longer ones, on "
        "so many in a row, at a random place and each epoch anew; none trains on pictures",
    )
    schedule: Literal["linear", "scaled-linear", "cosine"] = Field(
        "linear", description="noise schedule: linear, scaled-linear or cosine"
    )
    prediction: Literal["epsilon", "v", "x_0"] = Field(
        "v", description="what the network predicts: epsilon (the noise), v or x_0"
    )
    min_snr_gamma: Annotated[float | None, BeforeValidator(or_none)] = Field(
        None, gt=0, description="gamma of min-SNR loss weighting (5 is usual); none weighs evenly"
    )

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.kind == "autoencoder" and self.class_count:
            raise ValueError("classes: an autoencoder takes no classes; leave it out")
        if self.kind == "autoencoder" and self.autoencoder is not None:
            raise ValueError(
                "autoencoder: this is for a denoiser; to start an autoencoder from the weights of "
                "another, give init"
            )
        if self.frames is not None and (self.kind == "autoencoder" or self.autoencoder is not None):
            raise ValueError("frames: clips are trained on as pixels; leave the autoencoder out")
        for name in OF_DENOISERS if self.kind == "autoencoder" else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} does nothing with kind autoencoder: leave one of them out"
                )
        return self

    @property
    def clip_length(self) -> int | None:
        """See `PictureRecipe`."""
        return self.frames

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a sample: of a clip, the channels of its frames behind one another."""
        channels, height, width = self.shape
        return channels * (self.frames or 1), height, width

    def unet_config(self, shape: tuple[int, int, int]) -> dict[str, Any]:
        """Fields of the `UNet2DModel` to train, for samples of a shape (C, H, W)."""
        return _sized(self.network, NETWORKS, shape)

    def autoencoder_config(self) -> dict[str, Any]:
        """Fields of the `AutoencoderKL` to train."""
        found = _sized(self.network, AUTOENCODERS, self.shape)
        stages = len(found["block_out_channels"])
        kinds = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}
        return {name: [kind] * stages for name, kind in kinds.items()} | found

    def schedule_config(self) -> dict[str, Any]:
        """Fields of the diffusers scheduler to train on."""
        return {"num_train_timesteps": 1000, **_SCHEDULES[self.schedule]}

    @property
    def prediction_type(self) -> Any:
        """Diffusers' name of the prediction."""
        return _PREDICTIONS[self.prediction]


def _sized(
    network: dict[str, Any], presets: dict[str, dict[str, Any]], shape: tuple[int, int, int]
) -> dict[str, Any]:
    """A preset with the fields that differ from it, for samples of a shape (C, H, W)."""
    given = dict(network)
    preset = presets[given.pop("preset")]
    channels, size, _ = shape
    own = {"sample_size": size, "in_channels": channels, "out_channels": channels}
    return own | preset | given
