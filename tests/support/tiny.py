"""Tiny random checkpoints of every family, saved as diffusers saves them.

Latents are 8x8 and pictures 32x32. The autoencoders' posterior is made as narrow as it gets, since
diffusers draws latents from it where diffaug takes the most likely ones.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AnimateDiffVideoToVideoPipeline,
    AutoencoderKL,
    AutoencoderTiny,
    CMStochasticIterativeScheduler,
    ConsistencyModelPipeline,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LCMScheduler,
    MotionAdapter,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

__all__ = [
    "animatediff",
    "consistency",
    "dit",
    "flux",
    "lcm",
    "lora",
    "stable_diffusion",
    "stable_diffusion_3",
    "stable_diffusion_xl",
    "tiny_autoencoder",
]

SD_SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
TOKENS = 16


def stable_diffusion(folder: Path, prediction: str = "epsilon", **unet: Any) -> Path:
    torch.manual_seed(0)
    pipeline: Any = StableDiffusionPipeline(
        vae=_autoencoder(),
        text_encoder=CLIPTextModel(_text(32)),
        tokenizer=_tokenizer(),
        unet=_unet(32, **unet),
        scheduler=DDIMScheduler(**SD_SCHEDULE, prediction_type=prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def animatediff(folder: Path, frames: int, prediction: str = "epsilon", **unet: Any) -> Path:
    """A model of clips of so many frames, as its card says, whose frames heed one another."""
    torch.manual_seed(2)
    own: Any = _unet(32, **unet)
    adapter = MotionAdapter(
        block_out_channels=(16, 32),
        motion_layers_per_block=1,
        motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=4,
        motion_norm_num_groups=8,
    )
    pipeline: Any = AnimateDiffVideoToVideoPipeline(
        vae=_autoencoder(),
        text_encoder=CLIPTextModel(_text(32)),
        tokenizer=_tokenizer(),
        unet=own,
        motion_adapter=adapter,
        scheduler=DDIMScheduler(**SD_SCHEDULE, prediction_type=prediction),
    )
    pipeline.save_pretrained(folder)
    (folder / "README.md").write_text(f"---\ndiffaug:\n  frames: {frames}\n---\n")
    return folder


def lcm(folder: Path) -> Path:
    """A latent consistency model, which takes its guidance with the time."""
    torch.manual_seed(1)
    from diffusers import LatentConsistencyModelPipeline

    schedule = {name: value for name, value in SD_SCHEDULE.items() if name != "steps_offset"}
    pipeline: Any = LatentConsistencyModelPipeline(
        vae=_autoencoder(),
        text_encoder=CLIPTextModel(_text(32)),
        tokenizer=_tokenizer(),
        unet=_unet(32, time_cond_proj_dim=32),
        scheduler=LCMScheduler(**schedule),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def stable_diffusion_xl(folder: Path, **unet: Any) -> Path:
    torch.manual_seed(2)
    pipeline: Any = StableDiffusionXLPipeline(
        vae=_autoencoder(),
        text_encoder=CLIPTextModel(_text(32)),
        text_encoder_2=CLIPTextModelWithProjection(_text(32)),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        unet=_unet(
            64,
            **{
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 6 * 8 + 32,
                "transformer_layers_per_block": (1, 2),
                "use_linear_projection": True,
                **unet,
            },
        ),
        scheduler=DDIMScheduler(**SD_SCHEDULE),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def lora(folder: Path) -> Path:
    """LoRA weights for `stable_diffusion`'s UNet."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(4)
    unet = _unet(32)
    unet.add_adapter(LoraConfig(r=4, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    StableDiffusionPipeline.save_lora_weights(folder, get_peft_model_state_dict(unet))
    return folder / "pytorch_lora_weights.safetensors"


def tiny_autoencoder(folder: Path) -> Path:
    """Three blocks of which two halve the size, as the others' autoencoder."""
    torch.manual_seed(3)
    model: Any = AutoencoderTiny(
        encoder_block_out_channels=(16, 16, 16),
        decoder_block_out_channels=(16, 16, 16),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    )
    model.save_pretrained(folder)
    return folder


def _unet(width: int, **config: Any) -> Any:
    unet: Any = UNet2DConditionModel(
        **{
            "sample_size": 8,
            "block_out_channels": (16, 32),
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "attention_head_dim": 4,
            "cross_attention_dim": width,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            **config,
        }
    )
    _listening(unet)
    return unet


def _listening(network: Any) -> None:
    """Let the prompt count for more than it does at random, so that a wrong one is seen."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "attn2.to_" in name and name.endswith("weight"):
                weight.mul_(4)


def _autoencoder(**config: Any) -> Any:
    vae: Any = AutoencoderKL(
        **{
            "block_out_channels": (8, 16, 16),
            "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3,
            "norm_num_groups": 4,
            "latent_channels": 4,
            "sample_size": 32,
            **config,
        }
    )
    half = vae.config.latent_channels
    last = vae.encoder.conv_out if vae.quant_conv is None else vae.quant_conv
    with torch.no_grad():
        last.weight[half:] = 0
        last.bias[half:] = -30
    return vae


def _text(width: int) -> Any:
    return CLIPTextConfig(
        vocab_size=len(_VOCABULARY),
        hidden_size=width,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=3,
        max_position_embeddings=TOKENS,
        projection_dim=width,
        bos_token_id=_VOCABULARY["<|startoftext|>"],
        eos_token_id=_VOCABULARY["<|endoftext|>"],
        pad_token_id=_VOCABULARY["<|endoftext|>"],
    )


_LETTERS = string.ascii_lowercase + string.digits + "<>-_.,'"
_VOCABULARY = {
    token: number
    for number, token in enumerate(
        [
            *_LETTERS,
            *(f"{letter}</w>" for letter in _LETTERS),
            "<|startoftext|>",
            "<|endoftext|>",
        ]
    )
}


def _tokenizer() -> Any:
    """Of letters, no word of more."""
    return CLIPTokenizer(vocab=dict(_VOCABULARY), merges=[], model_max_length=TOKENS)


def dit(folder: Path, prediction: str = "epsilon", **transformer: Any) -> Path:
    """A diffusion transformer of 1000 classes: diffusers' pipeline takes 1000 for no class.

    Its classes are made to count: untrained, they hardly would. It is 32 wide since torch takes so
    many values at a time and a rest in another way, so that a row's bits could hang on its place.
    """
    torch.manual_seed(4)
    model: Any = DiTTransformer2DModel(
        **{
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "in_channels": 4,
            "out_channels": 8,
            "num_layers": 2,
            "sample_size": 8,
            **transformer,
        }
    )
    with torch.no_grad():
        for block in model.transformer_blocks:
            block.norm1.emb.class_embedder.embedding_table.weight.mul_(3)
    scheduler: Any = DDIMScheduler(clip_sample=False, prediction_type=prediction)
    pipeline: Any = DiTPipeline(transformer=model, vae=_autoencoder(), scheduler=scheduler)
    pipeline.save_pretrained(folder)
    return folder


def consistency(folder: Path, **unet: Any) -> Path:
    """A consistency model over pictures themselves, of the blocks that the published ones have."""
    torch.manual_seed(5)
    model: Any = UNet2DModel(
        **{
            "sample_size": 32,
            "block_out_channels": (16, 32),
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "attention_head_dim": 8,
            "resnet_time_scale_shift": "scale_shift",
            "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
            **unet,
        }
    )
    scheduler: Any = CMStochasticIterativeScheduler()
    pipeline: Any = ConsistencyModelPipeline(unet=model, scheduler=scheduler)
    pipeline.save_pretrained(folder)
    return folder


def stable_diffusion_3(folder: Path, t5: bool = True, **transformer: Any) -> Path:
    """Its autoencoder names another size, which is none of its business."""
    torch.manual_seed(4)
    pipeline: Any = StableDiffusion3Pipeline(
        vae=_flow_autoencoder(sample_size=64),
        text_encoder=CLIPTextModelWithProjection(_text(32)),
        text_encoder_2=CLIPTextModelWithProjection(_text(32)),
        text_encoder_3=_t5() if t5 else None,
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        tokenizer_3=_t5_tokenizer() if t5 else None,
        transformer=SD3Transformer2DModel(
            **{
                "sample_size": 8,
                "in_channels": 4,
                "out_channels": 4,
                "num_layers": 2,
                "attention_head_dim": 8,
                "num_attention_heads": 4,
                "joint_attention_dim": _T5_WIDTH,
                "caption_projection_dim": 32,
                "pooled_projection_dim": 64,
                "pos_embed_max_size": 6,
                **transformer,
            }
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    pipeline.save_pretrained(folder)
    return folder


def flux(folder: Path, dev: bool, **transformer: Any) -> Path:
    """As dev (guidance embedded, shift by the image's size) or schnell; its weights in shards."""
    torch.manual_seed(5)
    pipeline: Any = FluxPipeline(
        vae=_flow_autoencoder(),
        text_encoder=CLIPTextModel(_text(32)),
        text_encoder_2=_t5(),
        tokenizer=_tokenizer(),
        tokenizer_2=_t5_tokenizer(),
        transformer=FluxTransformer2DModel(
            **{
                "in_channels": 16,
                "num_layers": 1,
                "num_single_layers": 1,
                "attention_head_dim": 16,
                "num_attention_heads": 2,
                "joint_attention_dim": _T5_WIDTH,
                "pooled_projection_dim": 32,
                "axes_dims_rope": (4, 4, 8),
                "guidance_embeds": dev,
                **transformer,
            }
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0 if dev else 1.0, use_dynamic_shifting=dev
        ),
    )
    pipeline.save_pretrained(folder, max_shard_size="100KB")
    return folder


_T5_WIDTH = 80


def _flow_autoencoder(**config: Any) -> Any:
    return _autoencoder(
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
        **config,
    )


def _t5() -> Any:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(_PIECES),
            d_model=_T5_WIDTH,
            d_kv=8,
            d_ff=37,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    )


_PIECES = [
    *((special, 0.0) for special in ("<pad>", "</s>", "<unk>")),
    *((piece, -3.0) for piece in ("\N{LOWER ONE EIGHTH BLOCK}", *_LETTERS)),
]
"""A T5's vocabulary, each piece with its score; the block stands for a space."""


def _t5_tokenizer() -> Any:
    return T5Tokenizer(vocab=list(_PIECES), extra_ids=0, model_max_length=64)
