"""Shards of labelled texts from corpora as nltk packs them.

    python -m tests.benchmarks.text_shards qc.zip trec

TREC questions (Li & Roth 2002): trec/train.tar and trec/test.tar, of six classes. Sentence polarity
(Pang & Lee 2005) and pros and cons (Liu): train.tar and, of every class the last tenth, test.tar.
A class is a number, by its place in the alphabet; classes.txt has the names.
"""

from __future__ import annotations

import argparse
import re
import zipfile
from pathlib import Path

from diffaug.shards import ShardWriter

Texts = list[tuple[str, str]]
"""(class, text)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    given.output.mkdir(parents=True)
    splits = read(given.corpus)
    names = sorted({label for texts in splits.values() for label, _ in texts})
    (given.output / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    for split, texts in splits.items():
        with (given.output / f"{split}.tar").open("wb") as stream:
            tar = ShardWriter(stream)
            for number, (label, text) in enumerate(texts):
                tar.add(f"{split}-{number:05d}.txt", text.encode())
                tar.add(f"{split}-{number:05d}.cls", str(names.index(label)).encode())
            tar.close()
        print(f"{split}.tar: {len(texts)} texts")


def read(corpus: Path) -> dict[str, Texts]:
    """The texts of a corpus by split, in its order."""
    with zipfile.ZipFile(corpus) as archive:
        lines = {
            Path(name).name: archive.read(name).decode("latin-1").splitlines()
            for name in archive.namelist()
            if not name.endswith("/")
        }
    if corpus.stem == "qc":
        return {"train": questions(lines["train.txt"]), "test": questions(lines["test.txt"])}
    named = {
        "sentence_polarity": {"negative": "rt-polarity.neg", "positive": "rt-polarity.pos"},
        "pros_cons": {"cons": "IntegratedCons.txt", "pros": "IntegratedPros.txt"},
    }[corpus.stem]
    found: dict[str, Texts] = {"train": [], "test": []}
    for label, name in named.items():
        texts = [re.sub(r"</?(Pros|Cons)>", "", line).strip() for line in lines[name]]
        texts = [text for text in texts if text]
        cut = len(texts) * 9 // 10
        found["train"] += [(label, text) for text in texts[:cut]]
        found["test"] += [(label, text) for text in texts[cut:]]
    return found


def questions(lines: list[str]) -> Texts:
    """`DESC:manner How did …` has the class DESC."""
    found = []
    for line in lines:
        label, _, text = line.partition(" ")
        if text:
            found.append((label.partition(":")[0], text.strip()))
    return found


if __name__ == "__main__":
    main()
