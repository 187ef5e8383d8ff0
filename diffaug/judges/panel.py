"""All judges of a job: their digests, and their scores for each image or text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from diffaug.execution import Execution
from diffaug.judges.candidate import Candidate, Judge, Scores
from diffaug.judges.classifier import label_digest, load_label_judge, load_text_label_judge
from diffaug.judges.clip import clip_digest, load_clip_judge
from diffaug.judges.fluency import FLUENCY_VERSION
from diffaug.judges.meaning import load_meaning_judge, meaning_digest
from diffaug.judges.phash import PHASH_VERSION, PhashJudge
from diffaug.pictures.medium import IMAGE, Medium, PictureMedium, Value
from diffaug.recipe.filters import judge_of

__all__ = ["Panel", "judge_digests", "load_panel"]


_Load = Callable[[str, Execution], Judge]

_OF_PICTURES: dict[str, _Load] = {"label": load_label_judge, "clip": load_clip_judge}
_OF_TEXTS: dict[str, _Load] = {"label": load_text_label_judge, "meaning": load_meaning_judge}

_VERSIONS = {"phash": PHASH_VERSION, "fluency": FLUENCY_VERSION}
"""What identifies the judges that have no network of their own."""

_CLIPS = 4
"""How many clips wait for a judge at most, since they are held in memory whole."""


class Panel:
    """What the medium compares by, such as SSIM and PSNR, and the job's further judges.

    A panel judges one stream of results. A judge that compares a source's copies recognises them
    by their following one another.

    Args:
        judges: the further judges, by name.
        digests: what each of them is; see `judge_digests`.
        medium: of what is judged. Of a clip, the further judges see one frame.
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
        """How many results fill one call of every judge."""
        most = max((judge.rows for judge in self._judges.values()), default=1)
        return min(most, _CLIPS) if self._medium.name == "clip" else most

    def __call__(self, candidates: Sequence[Candidate]) -> list[Scores]:
        """All scores of each result; a score never depends on the results of other sources."""
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
    source file; for the perceptual hash and for fluency its version.

    Raises:
        ConfigError: a judge does not exist.
    """
    networks = {"label": label_digest, "clip": clip_digest, "meaning": meaning_digest}
    return {
        name: networks[name](reference) if reference else _VERSIONS[name]
        for name, reference in map(judge_of, judges)
    }


def load_panel(
    judges: Sequence[str],
    execution: Execution,
    medium: Medium[Value] = IMAGE,
    fluency: Callable[[], Judge] | None = None,
) -> Panel:
    """Load the judges that a recipe names, to run at the execution's batch size.

    Args:
        judges: each as `name` or `name=reference`; those of the medium.
        execution: batch size and device.
        medium: of what is judged.
        fluency: loads the judge fluency, whose network is the job's own model.

    Raises:
        ConfigError: a judge does not exist or cannot be loaded.
    """
    digests, of_texts = judge_digests(judges), medium.name == "text"
    loaded: dict[str, Judge] = {}
    for name, reference in map(judge_of, judges):
        if reference is not None:
            loaded[name] = _network(name, reference, digests[name], execution, of_texts)
        elif name == "fluency":
            assert fluency is not None
            loaded[name] = fluency()
        else:
            loaded[name] = PhashJudge()
    return Panel(loaded, digests, medium)


@lru_cache(maxsize=4)
def _network(name: str, reference: str, digest: str, execution: Execution, of_texts: bool) -> Judge:
    """A judge without a memory of earlier results, loaded once for each digest and execution."""
    return (_OF_TEXTS if of_texts else _OF_PICTURES)[name](reference, execution)
