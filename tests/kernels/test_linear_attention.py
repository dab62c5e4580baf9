"""The linear_attention operators on a CPU: values, gradients, registration, compilation, errors."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from gabc.kernels.linear_attention import linear_attention, linear_attention_state
from torch import Tensor

from gabc.runtime.functional import linear_attention as plain

B, H, K, V = 2, 3, 5, 4
GATE_DIMS = {"head": (), "key": (K,), "value": (V,)}
EXTREME = (0.0, -1e-4, -50.0, -torch.inf)


class Operands(NamedTuple):
    q: Tensor
    k: Tensor
    v: Tensor
    log_decay: Tensor | None
    initial: Tensor | None
    bonus: Tensor | None

    def leaves(self) -> list[Tensor]:
        return [x for x in self if x is not None]

    def call(self, decay: str, read_before: bool) -> tuple[Tensor, Tensor]:
        q, k, v, g, initial, bonus = self
        return linear_attention_state(
            q, k, v, g, decay=decay, read_before=read_before, initial=initial, bonus=bonus
        )


def drawn(
    length: int,
    decay: str,
    *,
    gates: tuple[float, ...] | None = (-0.1, -4.0),
    state: bool = True,
    bonus: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Operands:
    """Log decays between two of `gates`, or one of four each; None for no decay."""
    generator = torch.Generator().manual_seed(length + len(decay))

    def draw(*dims: int) -> Tensor:
        x = torch.randn(dims, generator=generator, dtype=torch.float64)
        return x.to(dtype).requires_grad_()

    log_decay = None
    if gates is not None:
        uniform = torch.rand((B, length, H, *GATE_DIMS[decay]), generator=generator).double()
        if len(gates) == 2:
            log_decay = gates[0] + (gates[1] - gates[0]) * uniform
        else:
            log_decay = torch.tensor(gates, dtype=torch.float64)[(uniform * len(gates)).long()]
        log_decay = log_decay.to(dtype).requires_grad_()
    return Operands(
        draw(B, length, H, K),
        draw(B, length, H, K),
        draw(B, length, H, V),
        log_decay,
        draw(B, H, K, V) if state else None,
        draw(H, K) if bonus else None,
    )


def loop(given: Operands, decay: str, read_before: bool) -> tuple[Tensor, Tensor]:
    """One step after another, differentiated by autograd and not by the code under test."""
    q, k, v, log_decay, initial, bonus = given
    S = q.new_zeros(B, H, K, V) if initial is None else initial
    outputs = []
    for t in range(q.shape[1]):
        old = S
        if log_decay is not None:
            a = log_decay[:, t].exp()
            match decay:
                case "head":
                    old = a[..., None, None] * old
                case "key":
                    old = a[..., :, None] * old
                case _:
                    old = a[..., None, :] * old
        new = old + k[:, t, :, :, None] * v[:, t, :, None, :]
        o = torch.einsum("bhk,bhkv->bhv", q[:, t], S if read_before else new)
        if bonus is not None:
            o = o + (q[:, t] * bonus * k[:, t]).sum(-1, keepdim=True) * v[:, t]
        outputs.append(o)
        S = new
    return torch.stack(outputs, 1), S


def with_gradients(outputs: tuple[Tensor, Tensor], inputs: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    cotangents = [
        torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in outputs
    ]
    return [*outputs, *torch.autograd.grad(outputs, inputs, cotangents)]


FORMS = [
    (decay, before, gated, bonus)
    for decay, before, gated, bonus in itertools.product(
        GATE_DIMS, (False, True), (True, False), (False, True)
    )
    if (gated or decay == "head") and not (decay == "value" and bonus)
]


@pytest.mark.parametrize("length", [1, 16, 37])
@pytest.mark.parametrize(("decay", "before", "gated", "bonus"), FORMS)
def test_equals_a_loop_over_time_in_float64(
    length: int, decay: str, before: bool, gated: bool, bonus: bool
) -> None:
    gates = (-0.1, -4.0) if gated else None
    given = drawn(length, decay, gates=gates, state=not bonus or length == 37, bonus=bonus)
    got = with_gradients(given.call(decay, before), given.leaves())
    want = with_gradients(loop(given, decay, before), given.leaves())
    assert all(x.dtype == torch.float64 for x in got)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("decay", GATE_DIMS)
def test_extreme_gates(decay: str, before: bool) -> None:
    given = drawn(37, decay, gates=EXTREME)
    got = with_gradients(given.call(decay, before), given.leaves())
    want = with_gradients(loop(given, decay, before), given.leaves())
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    assert given.log_decay is not None
    assert not got[5][given.log_decay == -torch.inf].any()


@pytest.mark.parametrize("decay", GATE_DIMS)
def test_gradients_of_strong_gates_are_no_noise(decay: str) -> None:
    """exp(-20) is far below the rounding of float32 beside one, which a difference of q dq and k dk
    would leave in the gradient."""
    given = drawn(37, decay, gates=(-1e-3, -20.0, -1e-3, -1e-3), dtype=torch.float32)
    wide = Operands(*(None if x is None else x.detach().double().requires_grad_() for x in given))
    assert given.log_decay is not None
    assert wide.log_decay is not None
    strong = given.log_decay < -1.0
    got = torch.autograd.grad(given.call(decay, False)[0].sum(), given.log_decay)[0][strong]
    want = torch.autograd.grad(loop(wide, decay, False)[0].sum(), wide.log_decay)[0][strong]
    assert want.abs().max() < 1e-6
    # A sum of signed terms is known to the rounding of its largest ones only.
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-4 * want.abs().max().item())


@pytest.mark.parametrize("decay", GATE_DIMS)
def test_a_sequence_in_two_parts_and_step_by_step(decay: str) -> None:
    q, k, v, g, initial, _ = drawn(21, decay)
    assert g is not None
    whole, last = linear_attention_state(q, k, v, g, decay=decay, initial=initial)
    outputs, state = [], initial
    for part in (slice(0, 18), slice(18, 19), slice(19, 20), slice(20, 21)):
        o, state = linear_attention_state(
            *(x[:, part] for x in (q, k, v, g)), decay=decay, initial=state
        )
        outputs.append(o)
    assert state is not None
    torch.testing.assert_close((torch.cat(outputs, 1), state), (whole, last))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_lower_precision_is_computed_in_float32_and_rounded_once(dtype: torch.dtype) -> None:
    given = drawn(37, "key", gates=(-0.1, -1.0), dtype=dtype, bonus=True)
    wide = Operands(*(None if x is None else x.detach().double().requires_grad_() for x in given))
    got = with_gradients(given.call("key", True), given.leaves())
    assert [x.dtype for x in got] == [dtype, torch.float32, *[dtype] * 6]
    outputs = loop(wide, "key", True)
    cotangents = [x.to(y.dtype) for x, y in zip(got[:2], outputs, strict=True)]
    narrow = [x.detach() for x in got[:2]]
    found = torch.autograd.grad(given.call("key", True), given.leaves(), narrow)
    want = torch.autograd.grad(outputs, wide.leaves(), cotangents)
    for x, y in zip((got[0], *found), (outputs[0], *want), strict=True):
        error = (x.double() - y).square().mean().sqrt() / y.square().mean().sqrt()
        assert error < torch.finfo(dtype).eps / 2


def test_what_broadcasts_and_is_shared_gets_the_sum_of_its_gradients() -> None:
    """One decay for each head, one key for all heads, one state for all rows."""
    q, k, v, _, initial, _ = drawn(20, "head")
    assert initial is not None
    decay = torch.linspace(-1.0, -0.1, H, dtype=torch.float64).requires_grad_()
    one_k, one_state = (
        x.detach()[:1].requires_grad_() if x is initial else x.detach()[:, :, :1].requires_grad_()
        for x in (k, initial)
    )
    inputs = [one_k, decay, one_state]
    shared = one_k.expand(B, 20, H, K)
    got = with_gradients(linear_attention_state(q, shared, v, decay, initial=one_state), inputs)
    full = Operands(q, shared, v, decay.expand(B, 20, H), one_state.expand(B, H, K, V), None)
    want = with_gradients(loop(full, "head", False), inputs)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("batch_and_length", [(0, 3), (2, 0)])
def test_empty(batch_and_length: tuple[int, int]) -> None:
    batch, length = batch_and_length
    x = torch.ones(batch, length, H, K, requires_grad=True)
    initial = torch.ones(batch, H, K, K, requires_grad=True)
    o, last = linear_attention_state(x, x, x, -x, decay="key", initial=initial)
    dx, dinitial = torch.autograd.grad((o.sum(), last.sum()), (x, initial))
    assert o.shape == dx.shape == x.shape
    assert torch.equal(last, initial)
    assert torch.equal(dinitial, torch.ones_like(initial))


def test_accepts_what_the_plain_helper_does() -> None:
    for ours, theirs in (
        (linear_attention, plain.linear_attention),
        (linear_attention_state, plain.linear_attention_state),
    ):
        wanted = inspect.signature(theirs).parameters
        found = inspect.signature(ours).parameters
        assert {name: found[name] for name in wanted} == dict(wanted)
    q, k, v, g, initial, _ = drawn(37, "value", dtype=torch.bfloat16)
    assert g is not None
    mixed = (q.float(), k, v, g.float()[:, :, :1])
    got = linear_attention(*mixed, decay="value", initial=initial)
    want = plain.linear_attention(*mixed, decay="value", initial=initial)
    assert got.dtype == want.dtype == torch.bfloat16
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("decay", "gated", "bonus"),
    [("head", False, False), ("key", True, True), ("value", True, False)],
)
def test_opcheck(decay: str, gated: bool, bonus: bool, dtype: torch.dtype) -> None:
    ops = torch.ops.gabc
    gates = (-0.1, -4.0) if gated else None
    given = drawn(18, decay, gates=gates, bonus=bonus, state=bonus, dtype=dtype)
    torch.library.opcheck(ops.linear_attention.default, (*given, decay, False))
    o, last = ops.linear_attention(*given, decay, False)
    fixed = [None if x is None else x.detach() for x in given]
    torch.library.opcheck(
        ops.linear_attention_backward.default,
        (o.detach(), last.detach(), *fixed, decay, False),
    )


def block(q: Tensor, k: Tensor, v: Tensor, g: Tensor, initial: Tensor) -> tuple[Tensor, Tensor]:
    return linear_attention_state(q, k, v, torch.log_softmax(g, -1), decay="key", initial=initial)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_whole_and_for_any_length(backend: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend=backend)
    for length, stance in ((7, "default"), (21, "fail_on_recompile")):
        given = drawn(length, "key").leaves()
        with torch.compiler.set_stance(stance):
            got = with_gradients(compiled(*given), given)
        torch.testing.assert_close(got, with_gradients(block(*given), given))


def test_autocast_changes_nothing() -> None:
    q, k, v, g, _, _ = drawn(20, "key", dtype=torch.float32)
    want = linear_attention(q, k, v, g, decay="key")
    with torch.autocast("cpu", torch.bfloat16):
        got = linear_attention(q, k, v, g, decay="key")
    assert torch.equal(got, want)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: linear_attention(x.long(), x, x, None), TypeError, "floating-point q"),
        (lambda x: linear_attention(x, x[:, :1], x, None), ValueError, r"k is \(2, 1, 3, 4\)"),
        (lambda x: linear_attention(x, x, x[:, :1], None), ValueError, r"v is \(2, 1, 3, 4\)"),
        (lambda x: linear_attention(x, x, x[..., :0], None), ValueError, "at least one key and"),
        (lambda x: linear_attention(x, x, x, None, decay="row"), ValueError, 'not "row"'),
        (lambda x: linear_attention(x, x, x, x), ValueError, r"log_decay that .* \(2, 5, 3\)"),
        (lambda x: linear_attention(x, x, x, x[..., 0].long()), TypeError, "floating-point log_d"),
        (lambda x: linear_attention(x, x, x, None, initial=x), ValueError, "an? initial that"),
        (lambda x: linear_attention(x, x, x, None, bonus=x), ValueError, r"bonus .* \(3, 4\)"),
        (
            lambda x: linear_attention(x, x, x, -x, decay="value", bonus=x[0, 0]),
            ValueError,
            "no bonus with a decay for each value",
        ),
    ],
)
def test_bad_arguments(
    call: Callable[[Tensor], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(torch.ones(2, 5, 3, 4))
