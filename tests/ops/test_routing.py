"""`route`: the primitive by itself, and whole designs whose generated code is sparse."""

from __future__ import annotations

import pytest
import torch
from designs import randomise, stack_of
from generator.compare import differences, drawn_state, run_compiled, run_reference, tokens_of
from measured_cost import VOCAB, measure
from torch import Tensor

from gabc.check.causality.prove import prove
from gabc.check.causality.verdict import Verdict
from gabc.check.cost import cost, value_at
from gabc.codegen.emit import emit
from gabc.graph.instance import Stack
from gabc.passes import optimise
from gabc.runtime.functional.routing import route
from gabc.runtime.model import build
from gabc.runtime.oracle import Oracle

from .harness import T, check, refusal

SCORES = T("B L 3")
LENGTHS = (1, 2, 7, 33)


@pytest.mark.parametrize("top", [1, 2, 3])
@pytest.mark.parametrize("normalise", [False, True])
def test_rules_agree(top: int, normalise: bool) -> None:
    scores = T("B L 3", lo=0.1)
    for x in (T("B L D"), T("B L H K")):
        check("routed_sum", {"xs": (x, x, x), "scores": scores, "top": top, "normalise": normalise})


def test_by_hand() -> None:
    x = T("B L D")
    bound = {"xs": (x, x, x), "scores": SCORES, "top": 2}
    (result,) = check("routed_sum", bound)
    generator = torch.Generator().manual_seed(0)
    xs = [x.draw(generator) for _ in range(3)]
    scores = SCORES.draw(generator)
    for row in range(2):
        for t in range(5):
            best = sorted(range(3), key=lambda e: (-scores[row, t, e].item(), e))[:2]
            expected = sum(scores[row, t, e] * xs[e][row, t] for e in best)
            torch.testing.assert_close(result[row, t], expected)


def test_of_equal_scores_the_lower_index_wins() -> None:
    experts = [lambda x, factor=factor: x * factor for factor in (1.0, 10.0, 100.0)]
    x = torch.ones(1, 4, 2, dtype=torch.float64)
    scores = torch.tensor([[1.0, 1, 1], [0, 1, 1], [1, 0, 1], [2, 2, 1]], dtype=torch.float64)
    y = route(experts, x, scores[None], 2)
    assert y[0, :, 0].tolist() == [11.0, 110.0, 101.0, 22.0]


def test_what_was_not_chosen_takes_no_part() -> None:
    def infinite(x: Tensor) -> Tensor:
        assert x.shape == (1, 0, 2)
        return x / 0.0

    x = torch.ones(2, 3, 2, dtype=torch.float64, requires_grad=True)
    scores = torch.tensor([0.9, 0.1], dtype=torch.float64).expand(2, 3, 2)
    y = route([lambda x: x, infinite], x, scores, 1)
    torch.testing.assert_close(y, 0.9 * x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, torch.full_like(x, 0.9))


def test_refusals() -> None:
    x = T("B L D")
    assert refusal("routed_sum", {"xs": (x, x), "scores": SCORES, "top": 1}).code == "GAB0201"
    assert refusal("routed_sum", {"xs": (x, x, x), "scores": SCORES, "top": 4}).code == "GAB0209"
    ranks = {"xs": (x, x, x), "scores": T("B L H 3"), "top": 1}
    assert refusal("routed_sum", ranks).code == "GAB0202"
    kinds = {"xs": (x, x, x), "scores": T("B L 3", "int"), "top": 1}
    assert refusal("routed_sum", kinds).code == "GAB0109"


# -------------------------------------------------------------------------------- designs

EXPERT = """
unit Expert(hidden: dim = 2 * D) {
    up = Linear(D, hidden)
    down = Linear(hidden, D)
    forward(X) { return down(gelu(up(X))) }
}
"""

PLAIN = f"""gab Moe
{EXPERT}
unit Moe(n: int = 4, k: int = 2) {{
    router = Linear(D, n, bias=false)
    experts = Expert() * n
    forward(X) {{
        scores = softmax(router(X))
        return X + route(experts, X, scores, top=k, normalise=true)
    }}
}}
"""

# A part of the list, linear experts, experts of other sizes, masked scores and a shared child.
MIXED = f"""gab Moe
{EXPERT}
unit Gate() {{
    shared inner = Linear(D, D)
    forward(x: [..., D]) {{ return x * sigmoid(inner(x)) }}
}}
unit Moe() {{
    router = Linear(D, 4, bias=false)
    experts = [Expert(hidden=D), Expert(hidden=3 * D), Expert(hidden=D)]
    plain = Linear(D, D) * 2
    gates = Gate() * 2
    forward(X) {{
        scores = router(X)
        a = route([experts[2], experts[0]], X, sigmoid(scores[..., 0:2]), top=1)
        allowed = masked(scores, scores[..., 3:4] < scores)
        b = route([experts[1], plain[0], plain[1], gates[1]], tanh(X + a), allowed, top=2)
        return X + b + route(gates, b, scores[..., 1:3], top=2)
    }}
}}
"""

# All experts on all tokens, weighted by the scores that are among the largest.
DENSE = f"""gab Moe
{EXPERT}
unit Moe(n: int = 4, k: int = 2) {{
    router = Linear(D, n, bias=false)
    experts = Expert() * n
    forward(X) {{
        scores = softmax(router(X))
        weights = where(topk_mask(scores, k), scores, 0.0)
        weights = weights / sum(weights, axis=-1, keep=true)
        y = zeros(B, L, D)
        for e, expert in enumerate(experts) {{ y = y + weights[..., e, None] * expert(X) }}
        return X + y
    }}
}}
"""


@pytest.mark.parametrize("text", [PLAIN, MIXED], ids=["plain", "mixed"])
@pytest.mark.parametrize("standalone", [False, True])
def test_sparse_code_equals_the_reference(text: str, standalone: bool) -> None:
    stack = stack_of(text, "16x2")
    code = emit(optimise(stack), standalone=standalone, vocab_size=VOCAB).text
    assert "route(" in code
    assert "routed_sum(" not in code.partition("class Expert")[2]
    model = build(stack, vocab_size=VOCAB, standalone=standalone).double()
    state = drawn_state(model, seed=1)
    for length in LENGTHS:
        tokens = tokens_of(length, VOCAB)
        expected = run_reference(stack, state, tokens)
        assert differences(expected, run_compiled(model, state, tokens)) == []


def test_equals_the_dense_sum() -> None:
    sparse, dense = (build(stack_of(text, "16x2"), vocab_size=VOCAB) for text in (PLAIN, DENSE))
    dense.load_state_dict(sparse.state_dict())
    for model in (sparse, dense):
        model.double()
    randomise(sparse)
    dense.load_state_dict(sparse.state_dict())
    state = drawn_state(sparse, seed=2)
    tokens = tokens_of(19, VOCAB)
    expected, found = (run_compiled(model, state, tokens) for model in (dense, sparse))
    assert differences(expected, found) == []


@pytest.mark.parametrize("text", [PLAIN, MIXED], ids=["plain", "mixed"])
def test_an_order_of_rows_is_no_matter(text: str) -> None:
    """Each row by itself gives what the batch gives: no token competes with another."""
    model = build(stack_of(text, "16x2"), vocab_size=VOCAB).double()
    randomise(model)
    tokens = tokens_of(12, VOCAB)
    with torch.no_grad():
        whole = model(tokens)
        torch.testing.assert_close(torch.cat([model(row[None]) for row in tokens]), whole)
        torch.testing.assert_close(model(tokens[:, :5]), whole[:, :5])


def flops(stack: Stack, length: int) -> tuple[float, float]:
    total = cost(optimise(stack), vocab_size=VOCAB).total
    forward = value_at(total.matmul, length, 2)
    return forward, forward + value_at(total.matmul_backward, length, 2)


def test_flops_are_what_torch_counts() -> None:
    """Exact where the experts are alike: every token is computed `top` times."""
    stack = stack_of(PLAIN, "16x2")
    found = measure(stack, 2, 40)
    assert flops(stack, 40) == (found.forward, found.training)
    assert flops(stack, 40)[0] < 0.7 * flops(stack_of(DENSE, "16x2"), 40)[0]


def test_saved_bytes_are_those_autograd_keeps() -> None:
    stack = stack_of(PLAIN, "32x2")
    total = cost(optimise(stack), vocab_size=VOCAB).total
    assert value_at(total.saved, 64, 2) == pytest.approx(measure(stack, 2, 64).saved, rel=0.01)


# -------------------------------------------------------------------------------- proofs

SCORES_OF = {
    "router(X)": True,
    "router(shift(X, 2))": True,
    "cumsum(router(X), axis=1)": True,
    "softmax(router(X), axis=1)": False,
    "router(X) - mean(router(X), axis=1, keep=true)": False,
    "router(X) - max(router(X), axis=0, keep=true)": False,
    "router(unblocks(blocks(X, 2) - mean(blocks(X, 2), axis=2, keep=true)))": False,
}


@pytest.mark.parametrize("scores", SCORES_OF)
@pytest.mark.parametrize("what", ["X", "rearrange(X, 'b l (h k) -> b l h k', h=2)"])
def test_what_decides_the_choice_is_proved(scores: str, what: str) -> None:
    is_whole = what == "X"
    result = "y" if is_whole else "rearrange(y, 'b l h k -> b l (h k)')"
    text = f"""gab One
unit One() {{
    router = Linear(D, 3)
    experts = {"Linear(D, D)" if is_whole else "Linear(D / 2, D / 2)"} * 3
    forward(X) {{
        y = route(experts, {what}, {scores}, top=2)
        return X + {result}
    }}
}}
""".replace("'", '"')
    stack = stack_of(text, "4x1")
    proofs, oracle = prove(stack), Oracle(stack, seed=1, magnitudes=(2.0,))
    verdicts = {found.verdict for found in (proofs.causality, proofs.length, proofs.batch)}
    assert (verdicts == {Verdict.PROVED}) is SCORES_OF[scores]
    leaks = [oracle.future(LENGTHS), oracle.prefix(LENGTHS), oracle.rows(LENGTHS)]
    assert (leaks == [None] * 3) is SCORES_OF[scores]
