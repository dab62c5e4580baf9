"""`gabc generate`: which tokens are chosen, and how they become text."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from decode.compare import VOCAB, random_parameters
from designs import example
from torch import Tensor
from transformers.generation.logits_process import TopKLogitsWarper

from gabc.cli.generate_run import load_decoder
from gabc.cli.identity import rebuild
from gabc.cli.main import main
from gabc.data.tokenizer import load_tokenizer
from gabc.passes import optimise
from gabc.runtime.decode import Decoder
from gabc.runtime.decode.sampling import Sampling, generate
from gabc.runtime.decode.text import TextStream
from gabc.runtime.reference import ReferenceModel
from gabc.train.checkpoint import open_checkpoint
from gabc.train.weights import load_weights

SEEDS = ("gpt2", "mamba2", "retnet", "rwkv6", "ttt")
BYTE = load_tokenizer("byte")
DESIGN = """gab Tiny

from std.norm import RMSNorm

unit Tiny() {
    norm = RMSNorm()
    up   = Linear(D, D)
    forward(X) {
        x = rearrange(norm(X), "b l (h k) -> b l h k", h=2)
        y = rearrange(attend(x, x, x), "b l h k -> b l (h k)")
        return X + up(y + shift(X, 1))
    }
}
"""


def decoder_of(name: str) -> tuple[Decoder, ReferenceModel]:
    stack = example(name, "64x1")
    parameters = random_parameters(stack)
    return (
        Decoder(optimise(stack), parameters, torch.float64),
        ReferenceModel(stack, parameters),
    )


def continued(decoder: Decoder, prompts: list[list[int]], count: int, sampling: Sampling,
              **options: int) -> list[list[int]]:  # fmt: skip
    found: list[list[int]] = [[] for _ in range(len(prompts) * options.get("copies", 1))]
    for row, token in generate(decoder, prompts, count, sampling, **options):
        found[row].append(token)
    return found


# ------------------------------------------------------------------------- which tokens


@pytest.mark.parametrize("name", SEEDS)
def test_greedy_tokens_are_the_argmax_of_the_whole_computed_each_time(name: str) -> None:
    decoder, model = decoder_of(name)
    prompts = [[3, 1, 4], [1], [5, 9, 2, 6, 5]]
    found = continued(decoder, prompts, 6, Sampling())
    for prompt, tokens in zip(prompts, found, strict=True):
        seen = list(prompt)
        for token in tokens:
            with torch.no_grad():
                expected = int(model(torch.tensor([seen]))[0, -1].argmax())
            assert token == expected
            seen.append(token)
        assert len(tokens) == 6


def test_a_sequence_ends_with_the_mark_and_the_others_go_on() -> None:
    decoder, _ = decoder_of("gpt2")
    prompts = [[3, 1, 4], [1], [5, 9]]
    free = continued(decoder, prompts, 8, Sampling())
    eos = free[0][2]
    found = continued(decoder, prompts, 8, Sampling(), eos=eos)
    for before, after in zip(free, found, strict=True):
        end = before.index(eos) + 1 if eos in before else len(before)
        assert after == before[:end]


def test_forbidden_tokens_are_never_chosen() -> None:
    decoder, _ = decoder_of("gpt2")
    for sampling in (Sampling(), Sampling(do_sample=True, temperature=3.0, top_k=0)):
        tokens = [t for _, t in generate(decoder, [[1]], 40, sampling, forbidden=range(5, VOCAB))]
        assert max(tokens) < 5


def test_chance_depends_on_the_seed_and_the_place_alone() -> None:
    decoder, _ = decoder_of("retnet")
    sampling = Sampling(do_sample=True, seed=7)
    together = continued(decoder, [[1, 2], [3]], 10, sampling)
    assert continued(decoder, [[1, 2]], 10, sampling) == together[:1]
    assert continued(decoder, [[1, 2], [3]], 10, Sampling(do_sample=True, seed=8)) != together
    copies = continued(decoder, [[1, 2]], 10, sampling, copies=3)
    assert copies[0] == together[0]
    assert len({tuple(copy) for copy in copies}) == 3


def test_samples_have_the_probabilities_of_the_rules() -> None:
    """2,000 draws of one token against the probabilities left by temperature and top-k."""
    decoder, model = decoder_of("mamba2")
    with torch.no_grad():
        logits = model(torch.tensor([[1, 2]]))[:, -1] / 2.0
    scores: Tensor = TopKLogitsWarper(4)(torch.tensor([[1, 2]]), logits)
    expected = scores.softmax(-1)[0]
    sampling = Sampling(do_sample=True, temperature=2.0, top_k=4)
    drawn = Counter(t for _, t in generate(decoder, [[1, 2]], 1, sampling, copies=2000))
    assert set(drawn) == set(expected.nonzero().flatten().tolist())
    for token, count in drawn.items():
        p = float(expected[token])
        assert abs(count - 2000 * p) < 4.5 * (2000 * p * (1 - p)) ** 0.5


def test_a_repetition_penalty_counts_what_each_row_has_seen() -> None:
    """Rows of unequal length are filled up for the rule, which must not see the filling."""
    decoder, _ = decoder_of("gpt2")
    sampling = Sampling(repetition_penalty=5.0)
    together = continued(decoder, [[3, 1, 4, 1, 5], [9]], 8, sampling)
    assert together[1] == continued(decoder, [[9]], 8, sampling)[0]
    assert together != continued(decoder, [[3, 1, 4, 1, 5], [9]], 8, Sampling())


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(do_sample=True, temperature=0.0),
        Sampling(do_sample=True, temperature=-1.0),
        Sampling(do_sample=True, top_p=1.5),
        Sampling(do_sample=True, min_p=2.0),
        Sampling(repetition_penalty=0.0),
    ],
)
def test_values_out_of_range_are_refused(sampling: Sampling) -> None:
    with pytest.raises(ValueError, match="has to be"):
        sampling.processors()


# ------------------------------------------------------------------------- text


@pytest.mark.parametrize("text", ["plain", "h\u00e9 \u20ac \U0001d54f", "\u65e5\u672c\u8a9e"])
def test_text_comes_in_whole_characters(text: str) -> None:
    stream = TextStream(BYTE.decode)
    parts = [stream.push(token) for token in BYTE.encode(text)]
    assert "".join(parts) == text
    assert stream.end() == ""
    assert sum(map(bool, parts)) == len(text)


def test_bytes_that_are_no_text_do_not_hold_it_up() -> None:
    stream = TextStream(BYTE.decode)
    parts = [stream.push(token) for token in (0xFF, 0xFE, 0x41, 0x42)]
    assert "".join(parts).endswith("AB")
    assert TextStream(BYTE.decode).end() == ""
    stream.push(0xE2)
    assert stream.end() == "\N{REPLACEMENT CHARACTER}"


# ------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generate")
    design = folder / "tiny.gab"
    design.write_text(DESIGN, encoding="utf-8")
    options = ["--steps", "2", "--scale", "16x1", "--length", "48", "--batch", "2"]
    limits = ["--train-limit", "40000", "--heldout-limit", "4000"]
    assert main(["train", str(design), *options, *limits, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_text_is_what_the_trained_model_says(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", str(run), "--prompt", "def f(", "--max-new-tokens", "7"]
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (found,) = document["sequences"]
    opened = open_checkpoint(run)
    module = rebuild(opened.record.identity).eval()
    load_weights(module, opened.weights)
    tokens = BYTE.encode("def f(")
    for _ in range(found["new_tokens"]):
        with torch.no_grad():
            scores = module(torch.tensor([tokens]))[0, -1, : BYTE.size]
        tokens.append(int(scores.argmax()))
    assert found["text"] == BYTE.decode(tokens[len("def f(") :])
    assert found["stopped"] == ("eos" if BYTE.eos_id in tokens else "length")
    assert main(words) == 0
    assert capsys.readouterr().out == f"def f({found['text']}\n"


def test_the_decoder_has_the_trained_weights(run: Path) -> None:
    opened = open_checkpoint(run)
    decoder = load_decoder(opened)
    module = rebuild(opened.record.identity).eval()
    load_weights(module, opened.weights)
    tokens = torch.tensor([BYTE.encode("import os")])
    with torch.no_grad():
        expected = module(tokens)
    found, _ = decoder(tokens, decoder.start(1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_several_prompts_and_sequences(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--prompt", "import", "--prompt", "a", "--num-return-sequences", "2"]
    chance = ["--do-sample", "--max-new-tokens", "3", "--seed", "1"]
    assert main(["generate", str(run), *words, *chance]) == 0
    heads = [line for line in capsys.readouterr().out.splitlines() if line.startswith("== ")]
    assert heads == ["== 1.1 ==", "== 1.2 ==", "== 2.1 ==", "== 2.2 =="]


def test_a_prompt_from_standard_input(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("x = 1"))
    assert main(["generate", str(run), "--prompt", "-", "--max-new-tokens", "1"]) == 0
    assert capsys.readouterr().out.startswith("x = 1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompt", ""], "the prompt is empty; give at least one character"),
        (["--prompt", "a", "--prompt", ""], "prompt 2 is empty; give at least one character"),
        (["--prompt", "a" * 48], "the prompt has 48 tokens"),
        (["--prompt", "a", "--max-new-tokens", "48"], "the model was trained on 48; shorten"),
        (["--prompt", "a", "--top-p", "0.5"], "--top-p acts on chance"),
        (["--prompt", "a", "--do-sample", "--top-p", "3"], "has to be a float > 0 and < 1"),
        (["--prompt", "a", "--do-sample", "--temperature", "0"], "has to be a strictly positive"),
    ],
)
def test_what_cannot_be_generated_is_refused_in_one_line(
    run: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(run), *options]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_folder_without_a_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(tmp_path), "--prompt", "a"]) == 2
    assert "There is no checkpoint at" in capsys.readouterr().err


def test_beyond_the_context_if_it_is_allowed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--prompt", "a" * 60, "--max-new-tokens", "2", "--beyond-context", "--json"]
    assert main(["generate", str(run), *words]) == 0
    assert json.loads(capsys.readouterr().out)["sequences"][0]["new_tokens"] in (1, 2)
