"""What an evaluation finds: verdicts, and what a reader must know about them."""

from __future__ import annotations

from dataclasses import dataclass

from diffaug.evaluation.verdict.judge import Verdict

__all__ = ["Conclusion"]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The result of an evaluation.

    Attributes:
        verdicts: one for each budget and for clean and corrupted images.
        leakage: what the diffusion model knows, as a sentence or two.
        notes: what else a reader must know, one sentence each.
    """

    verdicts: list[Verdict]
    leakage: str
    notes: list[str]

    def __str__(self) -> str:
        lines = [verdict.sentence for verdict in self.verdicts] or ["Nothing was on trial."]
        return "\n".join([*lines, self.leakage, *self.notes])
