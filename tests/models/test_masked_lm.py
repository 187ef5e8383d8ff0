"""Masked language models against transformers' own: same text, random numbers and batch shape."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoModelForMaskedLM, AutoTokenizer

from diffaug.diffusion.masked import MaskedNetwork, Mixing, Passage
from diffaug.diffusion.noise import SampleRandom
from diffaug.errors import ConfigError
from diffaug.models.families import masked_lm
from diffaug.models.masked import LENGTHS, MaskedModel
from diffaug.texts.windows import passage
from tests.support.jobs import threads
from tests.support.language_models import SENTENCES, bert, roberta
from tests.support.text_edits import language_model, random_of, run_alone

BATCH = 4
STEPS = 8
Tokens = NDArray[np.int64]

TEXTS = (
    *SENTENCES,
    "so",
    "the " * 21,
    "Who was it, and where (if at all) is the city of the red house near the hill and the river?",
)


@pytest.fixture(scope="module", params=[bert, roberta], ids=["bert", "roberta"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Callable[[Path], Path] = request.param
    return made(tmp_path_factory.mktemp("model"))


def edit_of(
    model: MaskedModel, number: int, mixing: Mixing, strength: float = 0.6, copy: int = 0
) -> Passage:
    """The edit of a text as the editor of texts plans it."""
    tokens = model.pieces.tokens(TEXTS[number])
    random, calls = random_of(number, copy), max(1, round(strength * STEPS))
    may_change = model.pieces.may_change(tokens)
    return passage(tokens.ids, may_change, model, random, mixing, strength, calls, None)


def made_of(model: MaskedModel, edits: list[Passage]) -> list[Tokens]:
    found = dict(model.steps(BATCH).run(enumerate(edits)))
    return [np.asarray(found[number]) for number in range(len(edits))]


@cache
def whole(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and model, as transformers loads them."""
    model: Any = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32)
    return AutoTokenizer.from_pretrained(folder), model.eval()


def never_drawn(tokenizer: Any) -> list[int]:
    """Signs, unknown words, and pieces that are no letters by themselves."""
    found = set(tokenizer.all_special_ids)
    for number in range(len(tokenizer)):
        text = tokenizer.convert_tokens_to_string([tokenizer.convert_ids_to_tokens(number)])
        bare = text.removeprefix(" ")
        if not bare or bare != bare.strip() or "\ufffd" in bare or not bare.isprintable():
            found.add(number)
    return sorted(found)


def by_transformers(
    folder: Path, text: str, random: SampleRandom, mixing: Mixing, strength: float
) -> Tokens:
    """Masked diffusion as the papers write it, over the whole model and whole texts.

    MDLM (arXiv 2406.07524): a token is absorbed with probability t, and each of N hidden ones comes
    back at a time of its own, which is uniform. LLaDA (arXiv 2502.09992), MaskGIT (2202.04200): or
    of all that are drawn, those of the highest confidence come back first.
    """
    tokenizer, model = whole(folder)
    bare = tokenizer(text, add_special_tokens=False).input_ids
    padded = next(length for length in LENGTHS if length >= len(bare) + 2)
    given = tokenizer(text, padding="max_length", max_length=padded, return_tensors="pt")
    tokens, never = given.input_ids[0], never_drawn(tokenizer)
    may_change = torch.tensor([number not in never for number in bare])
    hidden = {
        1 + place: math.floor(turn * max(1, round(strength * STEPS)))
        for place, (time, turn) in enumerate(
            zip(random.hiding(len(bare)), random.turns(len(bare)), strict=True)
        )
        if time < strength and may_change[place]
    }
    times = sorted(set(hidden.values()))
    calls = min(len(hidden), max(1, round(strength * STEPS))) if mixing.confident else len(times)
    tokens[list(hidden)] = tokenizer.mask_token_id
    count = len(hidden)
    for call in range(calls):
        with torch.no_grad():
            batch = tokens.expand(BATCH, -1), given.attention_mask.expand(BATCH, -1)
            logits = model(input_ids=batch[0], attention_mask=batch[1]).logits[0]
        logits[:, never] = -torch.inf
        drawn: dict[int, tuple[float, int]] = {}
        for place, time in hidden.items():
            if not mixing.confident and time != times[call]:
                continue
            p = torch.softmax(logits[place].double() / (mixing.temperature or 1), dim=0)
            falling, order = p.sort(descending=True)
            outside = order[falling.cumsum(0) - falling >= mixing.top_p]
            log_p = p.log()
            log_p[outside] = -torch.inf
            waited = torch.from_numpy(random.waiting(len(p), call, place - 1))
            token = int((log_p - waited.log()).argmax()) if mixing.temperature else int(p.argmax())
            drawn[place] = float(p[token]), token
        share = len(drawn)
        if mixing.confident:
            share = math.ceil((call + 1) * count / calls) - math.ceil(call * count / calls)
        for place in sorted(drawn, key=lambda place: -drawn[place][0])[:share]:
            tokens[place] = drawn[place][1]
            del hidden[place]
    assert not hidden
    found: Tokens = tokens[1 : 1 + len(bare)].numpy()
    return found


@pytest.mark.parametrize(
    "mixing",
    [
        Mixing(),
        Mixing(temperature=0),
        Mixing(temperature=0.7, top_p=0.6),
        Mixing(confident=True),
        Mixing(confident=True, temperature=2, top_p=0.9),
    ],
    ids=["random", "likeliest", "nucleus", "confident", "confident nucleus"],
)
def test_texts_are_those_of_the_papers_loop(folder: Path, mixing: Mixing) -> None:
    model = language_model(folder, BATCH)
    strengths = [0.3, 0.6, 1.0]
    edits = [edit_of(model, number, mixing, strengths[number % 3]) for number in range(len(TEXTS))]
    for number, found in enumerate(made_of(model, edits)):
        random, strength = random_of(number), strengths[number % 3]
        wanted = by_transformers(folder, TEXTS[number], random, mixing, strength)
        assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_body_and_head_are_the_model(folder: Path, dtype: str) -> None:
    model = language_model(folder, BATCH, dtype)
    theirs: Any = AutoModelForMaskedLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, 170, (3, 24), generator=random)
    attended = torch.arange(24) < torch.tensor([[24], [10], [3]])
    tokens[~attended] = model.padding
    with torch.inference_mode():
        wanted = theirs(input_ids=tokens, attention_mask=attended.long()).logits
        features = model.network.body(tokens, attended)
        found = model.network.head(features[attended])
    assert found.dtype == getattr(torch, dtype)
    torch.testing.assert_close(found, wanted[attended], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_text_does_not_depend_on_what_is_around_it(folder: Path, dtype: str) -> None:
    """Neither on neighbours, order, lane and lengths, nor on the number of threads."""
    mixings = [Mixing(), Mixing(confident=True, top_p=0.8)]
    with threads(1):
        model = language_model(folder, BATCH, dtype)
        edits = [
            edit_of(model, number, mixings[number % 2], 0.2 + 0.07 * number, copy)
            for number in range(len(TEXTS))
            for copy in range(2)
        ]
        alone = [made_of(model, [edit])[0].tolist() for edit in edits]
    shuffled = np.random.default_rng(0).permutation(len(edits)).tolist()
    for count, order in ((1, range(len(edits))), (1, shuffled), (2, shuffled), (2, shuffled[::-1])):
        with threads(count):
            together = made_of(model, [edits[number] for number in order])
        for number, found in zip(order, together, strict=True):
            assert found.tolist() == alone[number]
    assert alone[0] != alone[1]  # copies differ


def test_lengths_end_where_its_positions_do(folder: Path) -> None:
    """64 for both: the RoBERTa has 66, of which it counts from its padding token on."""
    model = language_model(folder, BATCH)
    assert model.lengths == (16, 24, 32, 48, 64)
    _, theirs = whole(folder)
    with torch.inference_mode():
        theirs(torch.full((1, 64), 9))
        with pytest.raises((IndexError, RuntimeError)):
            theirs(torch.full((1, 65), 9))


def test_a_tokenizers_shorter_length_counts(tmp_path: Path) -> None:
    folder = bert(tmp_path)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 40}))
    assert language_model(folder).lengths == (16, 24, 32)


FAMILIES = (
    *("DistilBert", "ModernBert", "Albert", "Electra", "DebertaV2", "MPNet", "XLMRoberta"),
    *("RobertaPreLayerNorm", "Data2VecText", "Camembert"),
)


@pytest.mark.parametrize("family", FAMILIES)
def test_kin(family: str) -> None:
    """Other families, whole and in parts, and at the greatest length that is given to them."""
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    if family == "DistilBert":
        sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    if family in ("Albert", "Electra"):
        sizes["embedding_size"] = 8
    signs = {f"{name}_token_id": number for number, name in enumerate(("bos", "pad", "eos"))}
    config = getattr(transformers, f"{family}Config")(
        vocab_size=60,
        max_position_embeddings=40,
        initializer_range=0.6,
        **sizes,
        **signs,
        **({"cls_token_id": 0, "sep_token_id": 2} if family == "ModernBert" else {}),
    )
    torch.manual_seed(0)
    model: Any = getattr(transformers, f"{family}ForMaskedLM")(config).eval()
    parts = masked_lm.BodyAndHead(model)
    network = MaskedNetwork(
        parts.body,
        parts.head,
        mask=59,
        drawn=np.ones(60, dtype=np.bool_),
        device=torch.device("cpu"),
    )
    masked_lm._check_parts(network, model, "it")
    longest = masked_lm.longest(model, _Endless())
    assert longest in (38, 40)
    tokens = torch.arange(longest)[None] + 10
    attended = torch.ones_like(tokens, dtype=torch.bool)
    with torch.inference_mode():
        wanted = model(input_ids=tokens, attention_mask=attended.long()).logits[0]
        found = network.head(network.body(tokens, attended)[0, 5:7])
    torch.testing.assert_close(found, wanted[5:7], rtol=0, atol=1e-5)
    assert wanted.std() > 0.1


class _Endless:
    """What a tokenizer without a length says."""

    model_max_length = int(1e30)


class _Doubled(torch.nn.Module):
    """A model whose head is given more than features."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.base_model, self.config, self.base_model_prefix = (
            whole.base_model,
            whole.config,
            "bert",
        )
        self.bert, self.cls = whole.bert, whole.cls

    def forward(self, input_ids: Any, attention_mask: Any = None, **other: Any) -> Any:
        output = self.bert(input_ids=input_ids, attention_mask=attention_mask, **other)
        features = output.last_hidden_state + input_ids[..., None]
        return transformers.modeling_outputs.MaskedLMOutput(logits=self.cls(features))


def test_a_model_of_other_parts_is_refused(tmp_path: Path) -> None:
    model = _Doubled(AutoModelForMaskedLM.from_pretrained(bert(tmp_path)).eval())
    parts = masked_lm.BodyAndHead(model)
    network = MaskedNetwork(
        parts.body,
        parts.head,
        mask=4,
        drawn=np.ones(180, dtype=np.bool_),
        device=torch.device("cpu"),
    )
    with pytest.raises(ConfigError, match="model it: _Doubled has other parts than a body"):
        masked_lm._check_parts(network, model, "it")


def test_what_is_not_finite_leaves_the_mask(folder: Path) -> None:
    """So that the text is refused when it is finished (see tests/texts/test_fit.py)."""
    model = language_model(folder, BATCH)
    broken = MaskedNetwork(
        model.network.body,
        lambda features: model.network.head(features) * torch.nan,
        mask=model.network.mask,
        drawn=model.pieces.drawn,
        device=model.network.device,
    )
    (window,) = edit_of(model, 0, Mixing(), 0.8).windows
    found = run_alone(broken, window, BATCH)
    assert (found[window.turns >= 0] == model.network.mask).all()
    assert (found[window.turns < 0] == window.tokens[window.turns < 0]).all()


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "transformers cannot load it"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "model"),
    ],
)
def test_a_broken_folder_is_a_users_mistake(
    tmp_path: Path, break_it: Callable[[Path], object], said: str
) -> None:
    folder = bert(tmp_path)
    break_it(folder)
    with pytest.raises(ConfigError, match=said):
        language_model(folder)


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path) -> None:
    folder = bert(tmp_path)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    del config["mask_token"]
    file.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="its tokenizer has no mask token"):
        language_model(folder)
