"""Texts made by a model that was taught the classes from the labelled texts alone.

    diffaug evaluate trec/train.tar prepared --test trec/test.tar --labels 10,50 --arms deletion \\
        --model lm --train-steps 1
    python -m tests.benchmarks.told_texts prepared lm told

For each seed and budget of the evaluation `prepared`, trains the model further on the texts that
are labelled there, with their classes, as conditional BERT does (Wu et al. 2018,
https://arxiv.org/abs/1812.06705), and edits these texts with it, told the class. An evaluation of
the same seeds and budgets takes them by --augmented 'told=told/{labels}-{seed}/shards/*.tar'.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from diffaug.evaluation.images.pictures import Pictures, read_keys
from diffaug.evaluation.images.sets import labelled
from diffaug.evaluation.plan import read_plan
from diffaug.output.evaluation import EvaluationOutput
from diffaug.shards import ShardWriter

BATCH, EPOCHS, LEAST, MOST = 32, 4, 20, 80
"""Texts of a step; and how often a text comes, within so many steps."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("prepared")
    parser.add_argument("model")
    parser.add_argument("output", type=Path)
    parser.add_argument("--strength", default="0.4")
    parser.add_argument("--copies", default="4")
    given = parser.parse_args()
    plan = read_plan(given.prepared)
    for number in range(plan.settings.seeds):
        texts = labelled(given.prepared, number)
        keys = read_keys(EvaluationOutput(given.prepared).labelled(number))
        classes = len(set(texts.labels.tolist()))
        for budget in plan.settings.labels:
            seed, count = plan.seed_of(number), budget * classes
            made = given.output / f"{budget}-{seed}"
            if not (made / "shards.txt").is_file():
                shard, lm = Path(f"{made}.tar"), Path(f"{made}-model")
                write(shard, keys[:count], texts.first(count))
                steps = min(max(EPOCHS * count // BATCH, LEAST), MOST)
                train = ("--init", given.model, "--classes", str(classes), "--steps", str(steps))
                rate = ("--learning-rate", "0.0003", "--warmup-steps", str(steps // 10))
                length = ("--length", "64", "--batch-size", str(BATCH), "--preview-steps", "1000")
                run("train", shard, lm, "--medium", "text", *train, *rate, *length, "--resume")
                how = ("--condition", "label", "--strength", given.strength, "--steps", "8")
                copies = (
                    "--copies",
                    given.copies,
                    "--seed",
                    str(seed),
                    "--max-failed",
                    "0.1",
                )  # twins
                run("augment", shard, made, "--model", str(lm), *how, *copies)
                shutil.rmtree(lm)
            print(
                f"seed {seed}, {budget} labels a class: {count * int(given.copies)} texts",
                flush=True,
            )


def write(path: Path, keys: list[str], texts: Pictures) -> None:
    """A shard of labelled texts, with the keys that they had in their source."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        tar = ShardWriter(stream)
        for key, text, label in zip(keys, texts.images, texts.labels, strict=True):
            tar.add(f"{key}.txt", text.encode())
            tar.add(f"{key}.cls", str(label).encode())
        tar.close()


def run(command: str, source: Path, output: Path, *flags: str) -> None:
    """A command of diffaug, in a process of its own."""
    line = [sys.executable, "-m", "diffaug", command, str(source), str(output), *flags]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
