"""What `gabc generate` does: the checkpoint as a decoder, its tokens as text while they come."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from gabc.cli.faults import InputFault
from gabc.cli.identity import rebuild_stack
from gabc.cli.output import print_json
from gabc.data.errors import DataError
from gabc.data.locate import data_dir_from_environment
from gabc.data.tokenizer import Tokenizer, load_tokenizer
from gabc.passes import optimise
from gabc.runtime.decode import Decoder
from gabc.runtime.decode.sampling import Sampling, generate
from gabc.runtime.decode.text import TextStream
from gabc.runtime.model import build
from gabc.train.checkpoint import Checkpoint, open_checkpoint
from gabc.train.errors import CheckpointError
from gabc.train.weights import load_weights, tensors_sha256


@dataclass(frozen=True, slots=True)
class Chance:
    """The options that act with `do_sample` only; `None` are those not given."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    @property
    def given(self) -> list[str]:
        """The options given, as they are written."""
        names = [part.name for part in fields(self) if getattr(self, part.name) is not None]
        return [f"--{name.replace('_', '-')}" for name in names]


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """The options of `gabc generate`; `default_tokens` are as many as there is room for."""

    checkpoint: Path
    prompts: tuple[str, ...]
    max_new_tokens: int | None
    default_tokens: int
    do_sample: bool
    chance: Chance
    repetition_penalty: float
    seed: int
    copies: int
    beyond_context: bool
    data_dir: Path | None


@dataclass(slots=True)
class _Sequence:
    """One continuation. `stopped` is why it ends: `eos`, or `length`."""

    prompt: int
    stream: TextStream
    text: str = ""
    tokens: int = 0
    stopped: str = "length"


def run_generation(request: GenerateRequest, as_document: bool) -> None:
    """Print the continuations, the first of them while it comes.

    Raises:
        InputFault: an option has no use or no meaning, or a prompt is empty or too long.
        CheckpointError, DataError: the checkpoint or its tokenizer cannot be used.
    """
    sampling = _sampling(request)
    opened = open_checkpoint(request.checkpoint)
    tokenizer = _tokenizer(opened, request.data_dir)
    texts = [sys.stdin.read() if text == "-" else text for text in request.prompts]
    prompts = [tokenizer.encode(text) for text in texts]
    count = _count(request, prompts, opened.record.settings.context)
    decoder = load_decoder(opened)
    begun = time.perf_counter()
    pairs = generate(
        decoder,
        prompts,
        count,
        sampling,
        eos=tokenizer.eos_id,
        forbidden=range(tokenizer.size, tokenizer.vocab_size),
        copies=request.copies,
    )
    sequences = [
        _Sequence(place, TextStream(tokenizer.decode))
        for place in range(len(prompts))
        for _ in range(request.copies)
    ]
    written = _written(pairs, sequences, tokenizer.eos_id)
    if not as_document:
        _show(written, sequences, texts)
        return
    for _ in written:
        pass
    seconds = time.perf_counter() - begun
    total = sum(sequence.tokens for sequence in sequences)
    print_json(
        {
            "ok": True,
            "checkpoint": str(opened.folder),
            "design": opened.record.identity.design,
            "tokens_per_second": round(total / seconds, 1),
            "sequences": [
                {
                    "prompt": texts[sequence.prompt],
                    "text": sequence.text,
                    "new_tokens": sequence.tokens,
                    "stopped": sequence.stopped,
                }
                for sequence in sequences
            ],
        }
    )


def load_decoder(opened: Checkpoint) -> Decoder:
    """The checkpoint's design with its weights, whose hash is the recorded one.

    Raises:
        CheckpointError: the design is not well-formed for this version, or the weights are others.
    """
    record = opened.record
    stack = rebuild_stack(record.identity)
    module = build(stack, vocab_size=record.identity.vocab_size, seed=record.identity.seed)
    load_weights(module, opened.weights)
    if tensors_sha256(module) != record.tensors_sha256:
        raise CheckpointError(
            f"{opened.folder}: the tensors in the model after loading are not the trained ones. "
            "The model built from its design has tensors the checkpoint does not know."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = module.eval().requires_grad_(False).to(device)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return Decoder(optimise(stack), tensors)


def _sampling(request: GenerateRequest) -> Sampling:
    chance, usual = request.chance, Sampling()
    if chance.given and not request.do_sample:
        raise InputFault(
            f"{' and '.join(chance.given)} acts on chance, and the most probable token is taken; "
            "add --do-sample"
        )
    sampling = Sampling(
        do_sample=request.do_sample,
        temperature=usual.temperature if chance.temperature is None else chance.temperature,
        top_k=usual.top_k if chance.top_k is None else chance.top_k,
        top_p=usual.top_p if chance.top_p is None else chance.top_p,
        min_p=chance.min_p,
        repetition_penalty=request.repetition_penalty,
        seed=request.seed,
    )
    try:
        sampling.processors()
    except ValueError as error:
        raise InputFault(str(error).strip("`")) from error
    return sampling


def _tokenizer(opened: Checkpoint, data_dir: Path | None) -> Tokenizer:
    trained = opened.record.data
    tokenizer = load_tokenizer(trained.tokenizer, data_dir or data_dir_from_environment())
    if tokenizer.content_hash != trained.tokenizer_hash:
        raise DataError(
            f"{opened.folder} was trained with the tokenizer {trained.tokenizer} "
            f"({trained.tokenizer_hash[:12]}), and the one here is "
            f"{tokenizer.content_hash[:12]}. Set DATA_DIR as it was in training."
        )
    return tokenizer


def _count(request: GenerateRequest, prompts: list[list[int]], context: int) -> int:
    """How many tokens to write."""
    for number, prompt in enumerate(prompts, start=1):
        if not prompt:
            which = "the prompt" if len(prompts) == 1 else f"prompt {number}"
            raise InputFault(f"{which} is empty; give at least one character")
    longest = max(map(len, prompts))
    wanted = request.max_new_tokens or request.default_tokens
    if request.beyond_context:
        return wanted
    room = context - longest
    if room < (request.max_new_tokens or 1):
        raise InputFault(
            f"the prompt has {longest} tokens, {request.max_new_tokens or 'some'} are to follow, "
            f"and the model was trained on {context}; shorten the prompt, ask for fewer with "
            "--max-new-tokens, or allow more with --beyond-context"
        )
    return min(wanted, room)


def _written(
    pairs: Iterator[tuple[int, int]], sequences: list[_Sequence], eos: int
) -> Iterator[tuple[int, str]]:
    """(sequence, text that is certain now) as it comes; a sequence that ended by `eos` says so."""
    for number, token in pairs:
        sequence = sequences[number]
        sequence.tokens += 1
        if token == eos:
            sequence.stopped = "eos"
            text = sequence.stream.end()
        else:
            text = sequence.stream.push(token)
        sequence.text += text
        yield number, text
    for number, sequence in enumerate(sequences):
        rest = sequence.stream.end()
        sequence.text += rest
        yield number, rest


def _show(written: Iterator[tuple[int, str]], sequences: list[_Sequence], texts: list[str]) -> None:
    """The first sequence while it comes, after its prompt; then the others, if there are any."""
    several = len(sequences) > 1
    _put(_heading(sequences, 0) if several else "")
    _put(texts[0])
    for number, text in written:
        if number == 0:
            _put(text)
    _put("\n")
    for number, sequence in enumerate(sequences[1:], start=1):
        _put(f"\n{_heading(sequences, number)}{texts[sequence.prompt]}{sequence.text}\n")


def _heading(sequences: list[_Sequence], number: int) -> str:
    prompt = sequences[number].prompt
    copies = [place for place, one in enumerate(sequences) if one.prompt == prompt]
    if len(copies) == 1:
        return f"== {prompt + 1} ==\n"
    return f"== {prompt + 1}.{copies.index(number) + 1} ==\n"


def _put(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
