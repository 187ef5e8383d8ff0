"""Texts a second: a job next to nlpaug's contextual augmenter, with the same local model.

    python -m venv nlpaug
    nlpaug/bin/pip install nlpaug==1.1.11 'transformers<5' torch gdown
    python -m tests.benchmarks.texts 'trec/train.tar' --nlpaug nlpaug/bin/python --texts 10000

nlpaug does not run beside transformers 5, hence its own environment. The model is a DistilBERT of
word pieces made of the texts, of its usual size (6 layers of 768) with random weights, which cost
as much as others. Both change 30 % of the words of each text, and make four copies:

- one: nlpaug, a text a call, `augment(text, n=4)`, as its documentation does;
- many: nlpaug with lists of 32 texts, its own batches, four times;
- diffaug: `diffaug augment --strength 0.3 --copies 4`, with its manifest and its commit, the model
  being loaded already, as it is for nlpaug.

They take turns: diffaug has a share of the texts, nlpaug as many of that share as `--of` says,
since it takes so long. Rates are by the clock and by the processor, of all turns together.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import diffaug
from diffaug import storage
from diffaug.shards import Sample
from tests.benchmarks.half_labelled import read, write

COPIES, STRENGTH, TOGETHER = 4, 0.3, 32

OTHER = """
import json, sys, time
import nlpaug.augmenter.word as naw
from transformers.utils import logging
logging.set_verbosity_error()
augmenter = naw.ContextualWordEmbsAug(
    model_path=sys.argv[1], model_type="bert", action="substitute", aug_p=0.3, aug_max=None)
augmenter.augment("what is this")
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    began, used, made = time.perf_counter(), time.process_time(), []
    texts, together, copies = asked["texts"], asked["together"], asked["copies"]
    if together == 1:
        for text in texts:
            made += augmenter.augment(text, n=copies)
    else:
        for begin in range(0, len(texts), together):
            for _ in range(copies):
                made += augmenter.augment(texts[begin : begin + together])
    took = time.perf_counter() - began, time.process_time() - used
    print(json.dumps({"made": len(made), "took": took, "example": made[0]}), flush=True)
"""


class Other:
    """nlpaug in its own environment."""

    def __init__(self, python: str, model: Path) -> None:
        self._process = subprocess.Popen(
            [python, "-c", OTHER, str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def augment(self, texts: list[str], together: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        asked = {"texts": texts, "together": together, "copies": COPIES}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = self._answer()
        return found

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(("{", '"')):
                return json.loads(line)
        raise SystemExit("nlpaug ended: see above")


class Rate:
    """Texts, and the seconds that they took by the clock and by the processor."""

    def __init__(self) -> None:
        self.texts, self.clock, self.processor = 0, 0.0, 0.0

    def add(self, texts: int, clock: float, processor: float) -> None:
        self.texts += texts
        self.clock += clock
        self.processor += processor


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="+")
    parser.add_argument("--nlpaug", required=True, help="the Python that has it")
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--of", type=float, default=0.02, help="the share that nlpaug has")
    parser.add_argument("--steps", type=int, default=20, help="of a whole way, as augment has it")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=768)
    given = parser.parse_args()
    samples = read(storage.expand(given.source), ("txt", "cls"))
    samples = [samples[n % len(samples)] for n in range(given.texts)]
    samples = [Sample(f"{n:06d}", one.members) for n, one in enumerate(samples)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = new_model(folder / "model", samples, given.layers, given.width)
        other = Other(given.nlpaug, model)
        rates = {"one": Rate(), "many": Rate(), "diffaug": Rate()}
        job(samples[:TOGETHER], model, folder, given.steps)  # what is done once
        for turn in range(given.turns):
            part = samples[turn :: given.turns]
            few = [text_of(one) for one in part[: max(TOGETHER, int(given.of * len(part)))]]
            for arm, together in (("one", 1), ("many", TOGETHER)):
                found = other.augment(few, together)
                rates[arm].add(found["made"], *found["took"])
            rates["diffaug"].add(COPIES * len(part), *job(part, model, folder, given.steps))
            print(f"turn {turn + 1}: {found['example']!r}", flush=True)
    print("| | texts a second | of processor | of the first |\n| :--- | ---: | ---: | ---: |")
    first = rates["one"]
    for name, rate in rates.items():
        by_clock, by_processor = rate.texts / rate.clock, rate.texts / rate.processor
        over = by_clock * first.clock / first.texts, by_processor * first.processor / first.texts
        print(f"| {name} | {by_clock:.1f} | {by_processor:.1f} | {over[0]:.1f}, {over[1]:.1f} |")


def text_of(sample: Sample) -> str:
    return sample.members["txt"].data.decode()


def job(samples: list[Sample], model: Path, folder: Path, steps: int) -> tuple[float, float]:
    """Augment texts; the seconds that it took."""
    source, output = folder / "source.tar", folder / "output"
    write(source, samples)
    shutil.rmtree(output, ignore_errors=True)
    began, used = time.perf_counter(), time.process_time()
    recipe = diffaug.Recipe(
        model=str(model), medium="text", strength=STRENGTH, steps=steps, copies=COPIES
    )
    run = diffaug.freeze(diffaug.plan_run(str(source), str(output), recipe), str(output))
    list(diffaug.augment_shards(run.sources, str(output), run=run))
    summary = diffaug.finish(run, str(output))
    assert summary.ok == COPIES * len(samples), summary
    return time.perf_counter() - began, time.process_time() - used


def new_model(folder: Path, samples: list[Sample], layers: int, width: int) -> Path:
    """A model with random weights, as both versions of transformers load it."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    tokenizer = BertWordPieceTokenizer()
    texts = dict.fromkeys(map(text_of, samples))
    tokenizer.train_from_iterator(texts, vocab_size=30_522, min_frequency=1, show_progress=False)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.save_model(str(folder))
    described = {
        "tokenizer_class": "BertTokenizerFast",
        "do_lower_case": True,
        "model_max_length": 512,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    config = DistilBertConfig(
        vocab_size=30_522, n_layers=layers, dim=width, hidden_dim=4 * width, n_heads=width // 64
    )
    DistilBertForMaskedLM(config).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
