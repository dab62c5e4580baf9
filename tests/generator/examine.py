"""One generated program through the compiler: what is found wrong, as lines of text."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gabc.check.report import check
from gabc.codegen.emit import emit
from gabc.elaborate.scales import parse_scale
from gabc.graph.instance import Stack
from gabc.ops.verify import BrokenGraph, verify
from gabc.passes.recurrences import parallelise
from gabc.runtime.load import load
from gabc.syntax.source import Source

from .compare import Run, differences, drawn_state, run_compiled, run_reference, tokens_of
from .program import Program

VOCAB = 11
PARALLEL_FORMS = ("linear_attention", "delta_rule", "delta_product", "linear_scan", "max_plus_scan")
LENGTHS = (1, 2, 3, 7, 17)


def stack_of(program: Program) -> Stack | list[str]:
    """The elaborated design, or the errors of a design that has none to the generator's mind."""
    scale = parse_scale(f"{program.width}x{program.layers}")
    report = check(Source("program.gab", program.text), scales=(scale,))
    if report.ok:
        return report.stacks[scale.name]
    return [
        f"refused: {d.code} {d.message}" for d in report.diagnostics if d.severity.name == "ERROR"
    ]


def examine(program: Program, length: int, seed: int = 0) -> list[str]:
    """Everything wrong with the compiler's work on a program, at one length.

    The check accepts it, the graphs keep their invariants, interpreter and generated module agree
    in outputs and all gradients, with recurrences as loops and in parallel form; rows of the batch
    are independent and no position sees a later one, programs being causal by construction.
    """
    try:
        return list(_examine(program, length, seed))
    except Exception:
        last = traceback.format_exc().strip().splitlines()
        return [f"raised: {last[-1]}", *last]


def _examine(program: Program, length: int, seed: int) -> Iterator[str]:
    stack = stack_of(program)
    if isinstance(stack, list):
        yield from stack
        return
    yield from broken_invariants(stack)
    model = built(stack)
    state = drawn_state(model, seed)
    tokens = tokens_of(length, VOCAB)
    expected = run_reference(stack, state, tokens)
    found = differences(expected, run_compiled(model, state, tokens))
    parallel = parallelise(stack)
    if has_parallel_form(parallel):
        actual = run_compiled(built(parallel), state, tokens)
        found += [f"in parallel form: {line}" for line in differences(expected, actual)]
    model.load_state_dict(state)
    found += _prefixes_and_rows(model, tokens)
    if found and not is_discontinuous(stack, expected, state, tokens):
        yield from found


def has_parallel_form(stack: Stack) -> bool:
    """Whether the pass has found a recurrence."""
    return any(
        node.op in PARALLEL_FORMS
        for block in stack.blocks
        for _, instance in block.walk()
        if instance.graph is not None
        for node in instance.graph.nodes
    )


def is_discontinuous(
    stack: Stack, expected: Run, state: Mapping[str, Tensor], tokens: Tensor
) -> bool:
    """Whether rounding decides the result: the reference jumps where every step is rounded anew.

    Comparisons and choices among values that are equal but for rounding do that.
    """
    for seed in range(3):
        with _Rounding(seed):
            again = run_reference(stack, state, tokens)
        if differences(expected, again):
            return True
    return False


class _Rounding(TorchDispatchMode):
    """Changes each float that an operation returns by about its rounding, unless it is a view."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        is_new = not func.is_view and not func._schema.is_mutable
        if not is_new or not isinstance(result, Tensor) or result.dtype != torch.float64:
            return result
        noise = torch.randn(result.shape, generator=self.generator, dtype=torch.float64)
        return result * (1 + 4e-16 * noise)


def broken_invariants(stack: Stack) -> Iterator[str]:
    for block in dict.fromkeys(stack.blocks):
        for _, instance in block.walk():
            if instance.graph is not None:
                try:
                    verify(instance.graph, instance)
                except BrokenGraph as broken:
                    yield f"invariant: {broken}"


def built(stack: Stack, standalone: bool = False) -> nn.Module:
    model_class = load(emit(stack, standalone=standalone, vocab_size=VOCAB))
    return model_class(vocab_size=VOCAB, seed=0).double().eval()


def _prefixes_and_rows(model: nn.Module, tokens: Tensor) -> Iterator[str]:
    with torch.no_grad():
        whole = model(tokens)
        half = (tokens.shape[1] + 1) // 2
        for what, part, wanted in (
            ("a prefix", tokens[:, :half], whole[:, :half]),
            ("a row", tokens[1:], whole[1:]),
        ):
            error = (model(part) - wanted).abs().max()
            if not error <= 1e-9 * max(1.0, float(wanted.abs().max())):
                yield f"{what} alone differs by {error:.3g}"
