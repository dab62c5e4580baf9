"""What is proved of each unit, against the compiled unit run alone on inputs that are changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from causality_programs import program
from designs import randomise, stack_of
from torch import Tensor, nn

from gabc.check.causality.prove import prove
from gabc.check.causality.units import unit_verdicts
from gabc.check.causality.verdict import Subject, Verdict
from gabc.check.report import check
from gabc.elaborate.scales import parse_scale
from gabc.graph.instance import Stack
from gabc.runtime.inspect_facts import Facts, at_fault, gather
from gabc.runtime.model import build
from gabc.syntax.source import Source

UNITS = """
unit Fine() {
    up = Linear(D, D)
    forward(X) { return up(X + shift(X, 2)) }
}
unit Ahead() {
    forward(X) { return X + mean(X, axis=1, keep=true) }
}
unit Rows() {
    forward(X) { return X - mean(X, axis=0, keep=true) }
}
unit Counts() {
    forward(X) {
        p = positions() + 1.0
        return X * (p / max(p, axis=0, keep=true))[:, None]
    }
}
unit Gated(slot: unit) {
    gate = Linear(D, D)
    forward(X) { return sigmoid(gate(X)) * slot(cumsum(X)) }
}
"""

BODIES = {
    "fine": "a = Fine()\n b = Gated(slot=Fine())\n forward(X) {\n X = a(X)\n return b(X)\n }",
    "one of three": (
        "a = Fine()\n b = Gated(slot=Gated(slot=Ahead()))\n c = Gated(slot=Fine())\n"
        " forward(X) {\n X = a(X)\n X = b(X)\n return c(X)\n }"
    ),
    "two in a row": (
        "a = Ahead()\n b = Fine()\n c = Gated(slot=Ahead())\n"
        " forward(X) {\n X = a(X)\n X = b(X)\n return c(X)\n }"
    ),
    "each of another kind": (
        "a = Rows()\n b = Gated(slot=Counts())\n c = Ahead()\n d = Fine()\n"
        " forward(X) {\n X = a(X)\n X = b(X)\n X = c(X)\n return d(X)\n }"
    ),
    "called twice": (
        "a = Fine()\n b = Ahead()\n c = Fine() * 2\n"
        " forward(X) {\n X = a(X)\n X = b(X)\n X = a(X)\n X = b(X)\n"
        " for e in c { X = e(X) }\n return X\n }"
    ),
    "shared": (
        "shared a = Gated(slot=Rows())\n b = Fine()\n forward(X) {\n X = a(X)\n return b(X)\n }"
    ),
    "layers that differ": (
        "a = Fine()\n if layer == 1 { b = Ahead() }\n forward(X) {\n X = a(X)\n"
        " if layer == 1 {\n X = b(X)\n }\n return a(X)\n }"
    ),
    "itself": "a = Fine()\n forward(X) {\n X = a(X)\n return a(softmax(X, axis=1))\n }",
}


def design(body: str) -> Stack:
    return stack_of(f"gab Root\n{UNITS}\nunit Root() {{\n{body}\n}}\n", "16x4")


def facts_of(stack: Stack) -> Facts:
    return gather(stack, prove(stack), 11)


def found_false(unit: Callable[[Tensor], Tensor]) -> set[Subject]:
    """The properties that a function [B, L, D] -> [B, L, D] does not have at some inputs."""
    generator = torch.Generator().manual_seed(1)
    x, other = (torch.randn(3, 9, 16, dtype=torch.float64, generator=generator) for _ in range(2))
    whole, found = unit(x), set()
    for length in range(1, 9):
        changed = x.clone()
        changed[:, length:] = other[:, length:]
        if not torch.allclose(unit(changed)[:, :length], whole[:, :length]):
            found.add(Subject.CAUSALITY)
        if not torch.allclose(unit(x[:, :length]), whole[:, :length]):
            found.add(Subject.LENGTH)
    changed = x.clone()
    changed[1:] = other[1:]
    if not torch.allclose(unit(changed)[0], whole[0]):
        found.add(Subject.BATCH)
    return found


def module_at(model: nn.Module, path: str) -> nn.Module:
    """`blocks` and `blocks.2-3` stand for their first block."""
    first, _, rest = path.partition(".")
    assert first == "blocks"
    number, _, below = rest.partition(".")
    if not number[:1].isdigit():
        number, below = "0", rest
    return model.get_submodule(f"blocks.{number.partition('-')[0]}.{below}".rstrip("."))


@pytest.mark.parametrize("name", sorted(set(BODIES) - {"shared"}))
def test_verdicts_are_those_of_the_unit_run_alone(name: str) -> None:
    stack = design(BODIES[name])
    facts = facts_of(stack)
    model = build(stack, vocab_size=11).double()
    randomise(model)
    checked = 0
    for path, verdicts in facts.verdicts.items():
        if not path.startswith("blocks"):
            continue
        assert verdicts is not None
        false = {s for s in Subject if verdicts[s] is not Verdict.PROVED}
        with torch.no_grad():
            assert false == found_false(module_at(model, path)), path
        checked += 1
    assert checked > 2


FAULTS = {
    "fine": [],
    "one of three": ["blocks.b.slot.slot"],
    "two in a row": ["blocks.a", "blocks.c.slot"],
    "each of another kind": ["blocks.c"],
    "called twice": ["blocks.b"],
    "shared": [],
    "layers that differ": ["blocks.1.b"],
    "itself": ["blocks"],
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_units_at_fault(name: str) -> None:
    facts = facts_of(design(BODIES[name]))
    assert at_fault(facts, Subject.CAUSALITY) == FAULTS[name]
    assert (facts.proofs.causality.verdict is Verdict.PROVED) == (not FAULTS[name])


def test_a_shared_unit_is_at_fault_in_every_block() -> None:
    facts = facts_of(design(BODIES["shared"]))
    assert at_fault(facts, Subject.BATCH) == ["blocks.a.slot"]
    assert at_fault(facts, Subject.LENGTH) == []


def test_who_writes_to_z_is_at_fault_and_not_who_reads() -> None:
    units = """
    unit Writes() {
        writes memo: [B, L, D]
        forward(X) {
            Z.memo = mean(X, axis=1, keep=true) + X
            return X
        }
    }
    unit Reads() {
        reads memo: [B, L, D]
        forward(X) { return X + Z.memo }
    }
    """
    body = (
        "if layer == 0 { a = Writes() } else { b = Reads() }\n forward(X) {\n"
        " if layer == 0 {\n X = a(X)\n } else {\n X = b(X)\n }\n return X\n }"
    )
    stack = stack_of(f"gab Root\n{units}\nunit Root() {{\n{body}\n}}\n", "16x3")
    facts = facts_of(stack)
    assert facts.proofs.causality.verdict is Verdict.REFUTED
    assert at_fault(facts, Subject.CAUSALITY) == ["blocks.0.a"]


def test_a_unit_whose_caller_makes_up_for_it_is_proved() -> None:
    """The last of a block of four is three after the first: so many are taken back."""
    units = """
    unit Blocked() {
        forward(X) {
            x = blocks(X, 4)
            return unblocks(x + mean(x, axis=2, keep=true))
        }
    }
    """
    body = "late = Blocked()\n forward(X) { return X + shift(late(X), BACK) }"
    text = f"gab Root\n{units}\nunit Root() {{\n{body}\n}}\n"
    facts = facts_of(stack_of(text.replace("BACK", "3")))
    assert facts.proofs.causality.verdict is Verdict.PROVED
    assert at_fault(facts, Subject.CAUSALITY) == []
    facts = facts_of(stack_of(text.replace("BACK", "2")))
    assert facts.proofs.causality.verdict is Verdict.REFUTED
    assert at_fault(facts, Subject.CAUSALITY) == ["blocks.late"]


def test_what_is_only_unknown_refutes_no_unit() -> None:
    units = """
    unit Unseen() {
        proj = Linear(D, D)
        forward(X) {
            scores = einsum("b l d, b m d -> b l m", X, proj(X))
            at = square(positions() + 1.0)
            weights = softmax(masked(scores, at[None, :] <= at[:, None]), axis=-1)
            return X + einsum("b l m, b m d -> b l d", weights, X)
        }
    }
    """
    body = "a = Unseen()\n forward(X) { return a(X) }"
    facts = facts_of(stack_of(f"gab Root\n{units}\nunit Root() {{\n{body}\n}}\n"))
    verdicts = facts.verdicts
    for path in ("blocks", "blocks.a"):
        found = verdicts[path]
        assert found is not None
        assert found[Subject.CAUSALITY] is facts.proofs.causality.verdict
        assert found[Subject.BATCH] is Verdict.PROVED
    assert at_fault(facts, Subject.CAUSALITY) == ["blocks.a"]
    inner = verdicts["blocks.a.proj"]
    assert inner is not None
    assert inner[Subject.CAUSALITY] is Verdict.PROVED


def test_some_block_is_at_fault_where_the_whole_is_not_proved() -> None:
    """Random programs: the units, judged by themselves, and the whole, judged as one, agree."""
    refuted = 0
    for seed in range(14):
        source = Source("design.gab", program(seed))
        stack = check(source, scales=[parse_scale("4x2")]).stacks.get("4x2")
        if stack is None:
            continue
        proofs = prove(stack)
        units = unit_verdicts(stack, proofs)
        for subject, found in zip(
            Subject, (proofs.causality, proofs.length, proofs.batch), strict=True
        ):
            worst = {units[block][subject] for block in stack.blocks}
            assert (worst == {Verdict.PROVED}) == (found.verdict is Verdict.PROVED), seed
            assert (Verdict.REFUTED in worst) == (found.verdict is Verdict.REFUTED), seed
            refuted += Verdict.REFUTED in worst
    assert refuted > 3
