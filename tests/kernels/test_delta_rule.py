"""The delta_rule operator on a CPU: values, gradients, registration, compilation, errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from gabc.kernels.delta_rule import delta_rule, delta_rule_state
from gabc.kernels.delta_rule.settings import SETTINGS, settings
from torch import Tensor

from gabc.runtime.functional.delta_rule import delta_rule_state as in_chunks

HEADS, KEYS, VALUES = 2, 12, 5
EXTREME = (0.0, -1e5, -torch.inf, -0.1, -30.0)
NAMES = ("q", "l", "r", "k", "v")


def arguments(length: int, decay: str | None, keys: int = KEYS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(length)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    rows = (2, length, HEADS)
    x = {name: random(*rows, keys) for name in ("q", "k")}
    x["l"] = F.normalize(random(*rows, keys), dim=-1)
    x["r"] = -random(*rows, 1).sigmoid() * x["l"] + 0.1 * random(*rows, keys)
    x["v"], x["initial"] = random(*rows, VALUES), random(2, HEADS, keys, VALUES)
    if decay is not None:
        x["log_decay"] = -random(*rows, *((keys,) if decay == "key" else ())).abs()
    return x


def loop(x: dict[str, Tensor], decay: str | None, read_before: bool) -> tuple[Tensor, Tensor]:
    """S = exp(g) S + r (l^T S) + k v^T as matrices, for autograd."""
    S, outputs = x["initial"], []
    for t in range(x["v"].shape[1]):
        q, l, r, k, v = (x[name][:, t].unsqueeze(-1) for name in NAMES)  # noqa: E741
        before, kept = S, torch.ones(1, dtype=S.dtype)
        if decay is not None:
            g = x["log_decay"].expand(*x["k"].shape[: 4 if decay == "key" else 3])[:, t]
            kept = torch.exp(g)[(..., *[None] * (4 - g.ndim))]
        S = kept * S + r @ (l.mT @ S) + k @ v.mT
        outputs.append((q.mT @ (before if read_before else S)).squeeze(-2))
    return torch.stack(outputs, 1), S


def called(x: dict[str, Tensor], decay: str | None, read_before: bool) -> tuple[Tensor, Tensor]:
    operands = [x[name] for name in NAMES]
    options = {"decay": decay or "head", "read_before": read_before, "initial": x.get("initial")}
    return delta_rule_state(*operands, x.get("log_decay"), **options)


def with_gradients(
    function: Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]], given: dict[str, Tensor]
) -> list[Tensor]:
    leaves = {name: x.detach().clone().requires_grad_() for name, x in given.items()}
    outputs = function(leaves)
    generator = torch.Generator().manual_seed(1)
    weights = [
        torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in outputs
    ]
    return [*outputs, *torch.autograd.grad(outputs, list(leaves.values()), weights)]


def assert_equal_to_the_loop(x: dict[str, Tensor], decay: str | None, read_before: bool) -> None:
    got = with_gradients(lambda given: called(given, decay, read_before), x)
    want = with_gradients(lambda given: loop(given, decay, read_before), x)
    assert all(tensor.dtype == torch.float64 for tensor in got)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize("decay", [None, "head", "key"])
@pytest.mark.parametrize("length", [1, 31, 33])
def test_equals_a_loop_in_float64(length: int, decay: str | None, read_before: bool) -> None:
    assert_equal_to_the_loop(arguments(length, decay), decay, read_before)


@pytest.mark.parametrize("decay", ["head", "key"])
def test_gates_that_shut_beside_some_that_never_do(decay: str) -> None:
    x = arguments(37, decay, keys=4)
    chosen = torch.randint(
        len(EXTREME), x["log_decay"].shape, generator=torch.Generator().manual_seed(5)
    )
    x["log_decay"] = torch.tensor(EXTREME, dtype=torch.float64)[chosen]
    assert_equal_to_the_loop(x, decay, False)


@pytest.mark.parametrize("decay", [None, "head", "key"])
def test_equals_the_plain_helper_of_generated_modules(decay: str | None) -> None:
    """Which goes by the WY form, with and without a first state."""
    x = arguments(50, decay)
    operands = [x[name] for name in NAMES]
    for initial in (x["initial"], None):
        options = {"decay": decay or "head", "read_before": True, "initial": initial}
        got = delta_rule_state(*operands, x.get("log_decay"), **options)
        want = in_chunks(*operands, x.get("log_decay"), **options)
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_decays_and_states_broadcast() -> None:
    x = arguments(20, "key")
    x["log_decay"], x["initial"] = -torch.rand(HEADS, 1).double(), x["initial"][:1, :, :, :1]
    full = {**x, "initial": x["initial"].expand(2, HEADS, KEYS, VALUES)}
    got = with_gradients(lambda given: called(given, "key", False), x)
    want = with_gradients(
        lambda given: loop({**given, "initial": given["initial"].expand(full["initial"].shape)},
                           "key", False), x,
    )  # fmt: skip
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


def test_decoding_step_by_step_is_one_call() -> None:
    x = arguments(6, "key")
    whole, last = called(x, "key", False)
    state, outputs = x["initial"], []
    for t in range(6):
        step = {name: y[:, t : t + 1] for name, y in x.items() if name != "initial"}
        o, state = called({**step, "initial": state}, "key", False)
        outputs.append(o)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)


def test_no_steps_leave_the_state() -> None:
    x = {name: y[:, :0] if name != "initial" else y for name, y in arguments(1, "head").items()}
    o, state = called(x, "head", False)
    assert o.shape == (2, 0, HEADS, VALUES)
    assert torch.equal(state, x["initial"])


@pytest.mark.parametrize("used", [0, 1])
def test_one_output_may_go_unused(used: int) -> None:
    leaves = {name: y.requires_grad_() for name, y in arguments(5, "head").items()}
    inputs = [y for name, y in leaves.items() if name != "q"]
    got = torch.autograd.grad(called(leaves, "head", False)[used].square().sum(), inputs)
    want = torch.autograd.grad(loop(leaves, "head", False)[used].square().sum(), inputs)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_is_float64_rounded_once(dtype: torch.dtype) -> None:
    x = {name: y.to(dtype) for name, y in arguments(40, "key").items()}
    got = with_gradients(lambda given: called(given, "key", False), x)
    wide = {name: y.double() for name, y in x.items()}
    want = with_gradients(lambda given: loop(given, "key", False), wide)
    kinds = [dtype, torch.float32, *[dtype] * len(x)]
    assert [y.dtype for y in got] == kinds
    # A rounding is within half a unit; sums of float32 add a few units relative to the largest
    # state, and the random weights of the gradients are rounded to `dtype` besides.
    few = 50 * torch.finfo(torch.float32).eps
    for y, exact in list(zip(got, want, strict=True))[:2]:
        allowed = 0.5 * torch.finfo(y.dtype).eps * exact.abs() + few * exact.abs().max()
        assert ((y.double() - exact).abs() <= allowed).all()


def test_autocast_and_mixed_dtypes_change_nothing() -> None:
    x = {name: y.float() for name, y in arguments(9, "head").items()}
    x["v"] = x["v"].bfloat16()
    o, state = called(x, "head", False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = called(x, "head", False)
    assert (o.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(again, (o, state), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decay", "dtype"), [(None, torch.float64), ("head", torch.bfloat16), ("key", torch.float64)]
)
def test_opcheck(decay: str | None, dtype: torch.dtype) -> None:
    x = {name: y.to(dtype) for name, y in arguments(3, decay).items()}
    if decay is None:
        del x["initial"]
    leaves = {name: y.clone().requires_grad_() for name, y in x.items()}
    operands = [leaves[name] for name in NAMES]
    options = (leaves.get("log_decay"), leaves.get("initial"), decay == "key")
    ops = torch.ops.gabc
    torch.library.opcheck(ops.delta_rule.default, (*operands, *options))
    fixed = [None if y is None else y.detach() for y in (*operands, *options[:2])]
    o, final, states = ops.delta_rule(*fixed, options[2])
    torch.library.opcheck(ops.delta_rule_backward.default, (o, final, *fixed, states, options[2]))


@pytest.mark.slow
def test_compiles_whole_and_for_any_length() -> None:
    torch.compiler.reset()

    def model(x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return called(x, "key", False)

    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for length in (3, 40):
        x = arguments(length, "key")
        got, want = with_gradients(compiled, x), with_gradients(model, x)
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"q": torch.ones(2, 3, HEADS, 7)}, ValueError, r"q, l, r and k of one shape.*q is"),
        ({"v": torch.ones(2, 4, HEADS, 5)}, ValueError, r"k \[B, L, H, K\] and v"),
        ({"v": torch.ones(2, 3, HEADS, 0)}, ValueError, "at least 1"),
        ({"r": torch.ones(2, 3, HEADS, KEYS).long()}, TypeError, "floating-point r"),
        ({"log_decay": torch.ones(2, 4, HEADS)}, ValueError, "log_decay that broadcasts to"),
        ({"initial": torch.ones(1, 2, HEADS, KEYS, 5)}, ValueError, "initial that broadcasts to"),
        ({"k": torch.ones(2, 3, HEADS, KEYS, device="meta")}, ValueError, "on one device"),
    ],
)
def test_bad_arguments(change: dict[str, Tensor], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        called({**arguments(3, "head"), **change}, "head", False)


@pytest.mark.parametrize("keys", [1, 16, 17, 128, 256])
def test_settings_cover_the_keys_of_a_state(keys: int) -> None:
    chosen = settings(keys)
    assert chosen.keys == min(entry.keys for entry in SETTINGS if entry.keys >= keys)
    assert 4 * chosen.state_keys >= chosen.keys


def test_too_many_keys_are_an_error() -> None:
    with pytest.raises(ValueError, match="stops at 256, got 257"):
        settings(257)


def test_unknown_decay() -> None:
    x = arguments(2, None)
    with pytest.raises(ValueError, match='"head" or "key", not "value"'):
        delta_rule(*(x[name] for name in NAMES), None, decay="value")
