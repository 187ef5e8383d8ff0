"""All judges of a job: their digests, and their scores for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from diffaug.execution import Execution
from diffaug.judges.candidate import Candidate, Judge, Scores
from diffaug.judges.classifier import label_digest, load_label_judge
from diffaug.judges.clip import clip_digest, load_clip_judge
from diffaug.judges.phash import PHASH_VERSION, PhashJudge
from diffaug.pictures.medium import IMAGE, Medium, PictureMedium, Value
from diffaug.recipe.filters import judge_of

__all__ = ["Panel", "judge_digests", "load_panel"]


_CLIPS = 4
"""How many clips wait for a judge at most, since they are held in memory whole."""


class Panel:
    """SSIM and PSNR, which every job has, and the job's further judges.

    A panel judges one stream of images. A judge that compares a source's copies recognises them
    by their following one another.

    Args:
        judges: the further judges, by name.
        digests: what each of them is; see `judge_digests`.
        medium: of what is judged. The further judges see pictures: of a clip, one frame.
    """

    def __init__(
        self,
        judges: Mapping[str, Judge],
        digests: dict[str, str],
        medium: Medium[Value] = IMAGE,
    ) -> None:
        self._judges = judges
        self._medium = medium
        self.digests = digests

    @property
    def rows(self) -> int:
        """How many images fill one call of every judge."""
        most = max((judge.rows for judge in self._judges.values()), default=1)
        return min(most, _CLIPS) if self._medium.name == "clip" else most

    def __call__(self, candidates: Sequence[Candidate]) -> list[Scores]:
        """All scores of each image; a score never depends on the images of other sources."""
        found = self._medium.compare([(one.source, one.output) for one in candidates])
        seen = self._seen(candidates) if self._judges else []
        for judge in self._judges.values():
            found = [known | more for known, more in zip(found, judge(seen), strict=True)]
        return found

    def _seen(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """What the further judges are given."""
        if not isinstance(self._medium, PictureMedium):
            return candidates
        still = self._medium.still
        return [
            replace(one, source=still(one.source), output=still(one.output)) for one in candidates
        ]


def judge_digests(judges: Sequence[str]) -> dict[str, str]:
    """What identifies each judge that a recipe names, by the judge's name.

    For a network this is the sha256, in hex, of weights and configurations; for code that of its
    source file; for the perceptual hash its version.

    Raises:
        ConfigError: a judge does not exist.
    """
    found = {}
    for name, reference in map(judge_of, judges):
        if name == "label" and reference:
            found[name] = label_digest(reference)
        elif name == "clip" and reference:
            found[name] = clip_digest(reference)
        else:
            found[name] = PHASH_VERSION
    return found


def load_panel(judges: Sequence[str], execution: Execution, medium: Medium[Value] = IMAGE) -> Panel:
    """Load the judges that a recipe names, to run at the execution's batch size.

    Raises:
        ConfigError: a judge does not exist or cannot be loaded.
    """
    digests = judge_digests(judges)
    loaded = {
        name: _network(name, reference, digests[name], execution) if reference else PhashJudge()
        for name, reference in map(judge_of, judges)
    }
    return Panel(loaded, digests, medium)


@lru_cache(maxsize=4)
def _network(name: str, reference: str, digest: str, execution: Execution) -> Judge:
    """A judge without a memory of earlier images, loaded once for each digest and execution."""
    load = load_label_judge if name == "label" else load_clip_judge
    return load(reference, execution)
