"""Tokenizers, corpora, packing and the n-gram baseline."""

from __future__ import annotations

import ast
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gabc.data
from gabc.data.corpus import Corpus, load_corpus
from gabc.data.documents import Document, read_documents
from gabc.data.errors import DataError
from gabc.data.locate import data_dir_from_environment
from gabc.data.ngram import NgramModel, ngram_baseline
from gabc.data.packing import PackedSequences
from gabc.data.split import split, within
from gabc.data.tokenizer import load_tokenizer

SHARED = Path(__file__).parents[2] / "shared" / "data"
DATA_DIR = SHARED / "babylm2024_evaluation_data"
needs_data = pytest.mark.skipif(not DATA_DIR.is_dir(), reason="../shared/data is not there")

BYTE = load_tokenizer("byte")


@pytest.fixture(scope="module")
def embedded() -> Corpus:
    return load_corpus(BYTE, train_limit=200_000, heldout_limit=40_000)


# ---- tokenizers


@given(st.text())
def test_bytes_round_trip(text: str) -> None:
    ids = BYTE.encode(text)
    assert BYTE.decode(ids) == text
    assert BYTE.byte_lengths[ids].sum() == len(text.encode())


def test_byte_vocabulary() -> None:
    assert BYTE.vocab_size % 8 == 0
    assert BYTE.eos_id not in BYTE.encode("".join(map(chr, range(0x500))))
    assert BYTE.decode([104, BYTE.eos_id, 105]) == "hi"


@needs_data
def test_gpt2_round_trip_and_known_ids() -> None:
    gpt2 = load_tokenizer("gpt2", DATA_DIR)
    # published example ids of GPT-2's tokenizer
    assert gpt2.encode("Hello world") == [15496, 995]
    assert (gpt2.size, gpt2.vocab_size, gpt2.eos_id) == (50257, 50264, 50256)
    text = "Zoë said:\n\n  “naïve” — 42 🙂"
    ids = gpt2.encode(text)
    assert gpt2.decode(ids) == text
    assert gpt2.byte_lengths[ids].sum() == len(text.encode())
    assert gpt2.eos_id not in gpt2.encode("a<|endoftext|>b")


@pytest.mark.parametrize("name", ["gpt2", "sentencepiece"])
def test_missing_tokenizer(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="byte"):
        load_tokenizer(name, tmp_path)


def test_damaged_gpt2_files(tmp_path: Path) -> None:
    folder = tmp_path / "gpt2_bpe"
    folder.mkdir()
    (folder / "encoder.json").write_text("{")
    with pytest.raises(DataError, match=r"vocab\.bpe, which is not there"):
        load_tokenizer("gpt2", tmp_path)
    (folder / "vocab.bpe").write_text("")
    with pytest.raises(DataError, match="cannot be read"):
        load_tokenizer("gpt2", tmp_path)


@pytest.mark.parametrize("module", ["byte_tokenizer", "gpt2_tokenizer"])
def test_each_tokenizer_can_be_imported_alone(module: str) -> None:
    """They do not import the function that finds them by name."""
    tree = ast.parse(Path(gabc.data.__path__[0], f"{module}.py").read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "gabc.data.tokenizer" not in imported


# ---- documents and splits


def test_gutenberg_wrapping_is_dropped(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text(
        "\ufeffLicence\r\n*** START OF THIS PROJECT GUTENBERG EBOOK X ***\r\nCall me.\r\n"
        "*** END OF THIS PROJECT GUTENBERG EBOOK X ***\r\n*** START: FULL LICENSE ***\r\nTerms\r\n"
    )
    documents, sources = read_documents(book)
    assert [d.text for d in documents] == ["Call me."]
    assert sources[0].size == book.stat().st_size


def test_stories_are_documents(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("One.\n<|endoftext|>\nTwo.\n<|endoftext|>\n")
    documents, _ = read_documents(tmp_path)
    assert [d.text for d in documents] == ["One.", "Two."]


def test_split_is_by_text_and_never_shares_a_document() -> None:
    documents = [Document(f"d{i}", f"text number {i % 150} " * 5) for i in range(300)]
    parts = split(documents)
    assert not {d.text for d in parts.train} & {d.text for d in parts.heldout}
    assert len(parts.train) + len(parts.heldout) == 300
    assert 0.04 < len(parts.heldout) / 300 < 0.17
    assert split(list(reversed(documents))).heldout == tuple(reversed(parts.heldout))


def test_one_long_document_is_cut_at_a_paragraph() -> None:
    text = "".join(f"Paragraph {i}.\n\n" for i in range(40_000))
    parts = split([Document("novel", text)])
    assert parts.train[0].text + parts.heldout[0].text == text
    assert parts.heldout[0].text.startswith("Paragraph")
    assert len(parts.heldout[0].text) == pytest.approx(len(text) / 10, rel=0.01)


def test_bound_keeps_order_and_length() -> None:
    documents = tuple(Document(str(i), str(i) * 100) for i in range(1, 10))
    kept = within(documents, 350)
    assert sum(len(d.text) for d in kept) == 350
    assert [d.name for d in kept] == sorted(d.name for d in kept)
    assert within(documents, None) == documents


# ---- corpora


def test_embedded_corpus_is_the_same_twice(embedded: Corpus) -> None:
    again = load_corpus(BYTE, train_limit=200_000, heldout_limit=40_000)
    assert again.train_sha256 == embedded.train_sha256
    assert again.heldout.sha256 == embedded.heldout.sha256
    assert embedded.heldout.bytes == (embedded.heldout.tokens < 256).sum()
    assert embedded.heldout.tokens[0] == embedded.train[-1] == BYTE.eos_id


def test_no_training_sequence_holds_heldout_text(embedded: Corpus) -> None:
    train = embedded.train.astype(np.uint16).tobytes()
    held = embedded.heldout.tokens.astype(np.uint16)
    longest = max(
        (held[i : i + 400] for i in range(0, len(held) - 400, 400)),
        key=lambda piece: len(set(piece.tolist())),
    )
    assert train.find(longest.tobytes()) == -1


@needs_data
def test_data_dir_corpus() -> None:
    gpt2 = load_tokenizer("gpt2", DATA_DIR)
    corpus = load_corpus(gpt2, data_dir=DATA_DIR, train_limit=200_000, heldout_limit=30_000)
    assert corpus.name == "tinystories + gutenberg + tinyshakespeare"
    assert corpus.train.dtype == np.uint16
    assert [text.name for text in corpus.extra] == ["wikitext-2/valid.txt"]
    text = gpt2.decode(corpus.train.tolist())
    assert len(text.encode()) == corpus.train_bytes
    assert "PROJECT GUTENBERG" not in text


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: p / "nowhere", "no data at"),
        (lambda p: p, r"no \.txt file"),
        (lambda p: _write(p / "a.txt", b""), "is empty"),
        (lambda p: _write(p / "a.txt", b"\xff\xfe\x00"), "not UTF-8"),
        (lambda p: _write(p / "a.txt", b"x"), "too short"),
    ],
)
def test_bad_data_is_named(make, reason: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=reason) as caught:
        load_corpus(BYTE, data=make(tmp_path))
    assert str(tmp_path) in str(caught.value)


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_data_dir_from_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DATA_DIR", raising=False)
    assert data_dir_from_environment() is None
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match="empty"):
        data_dir_from_environment()
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="not a folder"):
        data_dir_from_environment()
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert data_dir_from_environment() == tmp_path
    with pytest.raises(DataError, match="tinystories"):
        load_corpus(BYTE, data_dir=tmp_path)


# ---- packing


@given(st.integers(5, 400), st.integers(1, 40), st.integers(0, 3))
def test_packing_visits_each_target_once_a_pass(length: int, context: int, seed: int) -> None:
    tokens = np.arange(length, dtype=np.int32)
    if length <= context:
        with pytest.raises(DataError, match="fewer than one sequence"):
            PackedSequences(tokens, context, seed)
        return
    sequences = PackedSequences(tokens, context, seed)
    n = sequences.per_pass
    for this_pass in range(2):
        rows = [sequences[this_pass * n + i] for i in range(n)]
        assert all(row.tolist() == list(range(row[0], row[0] + context + 1)) for row in rows)
        targets = sorted(t for row in rows for t in row[1:].tolist())
        assert targets == list(range(1, n * context + 1))


def test_packing_order_depends_on_seed_and_pass() -> None:
    tokens = np.arange(1001, dtype=np.int32)
    first, again, other = (PackedSequences(tokens, 10, seed) for seed in (1, 1, 2))
    starts = [int(first[i][0]) for i in range(200)]
    assert [int(again[i][0]) for i in reversed(range(200))] == starts[::-1]
    assert [int(other[i][0]) for i in range(200)] != starts
    assert starts[:100] != starts[100:]


# ---- the n-gram baseline


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_ngram_probabilities_sum_to_one(order: int) -> None:
    generator = np.random.default_rng(0)
    size = 7
    stream = np.minimum(generator.geometric(0.4, 3000) - 1, size - 2).astype(np.int32)
    model = NgramModel(stream, order, size)
    # token 6 was never seen, so contexts with it exercise the backing off
    for context in itertools.product(range(size), repeat=3):
        rows = [[*context, token] for token in range(size)]
        total = sum(math.exp(model.log_probabilities(np.array(row, np.int32))[-1]) for row in rows)
        assert total == pytest.approx(1.0, abs=1e-12)


def test_bigram_against_the_formula_by_hand() -> None:
    """Interpolated Kneser-Ney with the one discount 0.75, worked out on `a b a b a c`."""
    model = NgramModel(np.array([0, 1, 0, 1, 0, 2], np.int32), 2, 3)
    d = 0.75
    # distinct left neighbours: a after b; b after a; c after a. Unigram discounts leave 0.25 / 3.
    unigram = (1 - d) / 3 + (3 * d / 3) / 3
    # after a: b twice, c once
    expected = (2 - d) / 3 + (2 * d / 3) * unigram
    found = math.exp(model.log_probabilities(np.array([0, 1], np.int32))[0])
    assert found == pytest.approx(expected, abs=1e-12)


def test_ngram_approaches_the_entropy_of_its_source() -> None:
    """A second-order chain whose entropy is known: the trigram finds it and the bigram cannot."""
    generator = np.random.default_rng(1)
    flips = generator.random(60_000) < 0.1
    stream = np.zeros(60_000, np.int32)
    for i in range(2, len(stream)):
        stream[i] = stream[i - 1] ^ stream[i - 2] ^ flips[i]
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    losses = {
        order: -NgramModel(stream[:50_000], order, 2).log_probabilities(stream[50_000:]).mean()
        for order in (2, 3)
    }
    assert losses[3] == pytest.approx(entropy, abs=0.02)
    assert losses[2] > entropy + 0.2


def test_baseline_on_the_embedded_corpus(embedded: Corpus) -> None:
    trigram, unigram = (ngram_baseline(embedded, order) for order in (3, 1))
    assert trigram.heldout_sha256 == embedded.heldout.sha256
    assert 2.0 < trigram.bits_per_byte < 3.6 < unigram.bits_per_byte < 5.5
    n = len(embedded.heldout.tokens) - 1
    assert trigram.bits_per_byte == pytest.approx(
        trigram.loss * n / math.log(2) / embedded.heldout.bytes
    )
