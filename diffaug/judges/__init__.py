"""Judges rate augmented images and texts; each one fills columns `score_<name>`."""

from diffaug.judges.candidate import Candidate
from diffaug.judges.fluency import load_fluency_judge
from diffaug.judges.panel import Panel, judge_digests, load_panel
from diffaug.pictures.similarity import psnr, scores, ssim

__all__ = [
    "Candidate",
    "Panel",
    "judge_digests",
    "load_fluency_judge",
    "load_panel",
    "psnr",
    "scores",
    "ssim",
]
