"""Each recurrence of `gabc.runtime.functional` in parallel form against the plain loop over time.

Prints a Markdown table for forward and backward on this CPU: the time of each form, their ratio,
the largest ratio that memory allows (scans of elements only), how the time of the parallel form
grows from the first length to the last, and the memory each took at its peak beside its arguments.
Linux only (the peak is the kernel's count of resident memory). Run from the project's root, with as
many threads as wanted: `OMP_NUM_THREADS=2 python benchmarks/recurrences.py [WORD of a case ...]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from measure import bandwidth, interleaved, machine, prepare
from torch import Tensor

from gabc.runtime.functional.delta_product import delta_product
from gabc.runtime.functional.delta_rule import delta_rule
from gabc.runtime.functional.linear_attention import linear_attention
from gabc.runtime.functional.linear_scan import linear_scan
from gabc.runtime.functional.max_plus import max_plus_scan

LENGTHS = (512, 2048)
ROUNDS = 3
HEADS, KEYS, VALUES = 4, 64, 64
UPDATES = 2

BOUND = 1e-4
"""Largest relative norm of a difference of the two forms, in float32."""

ARRAYS = 9
"""What forward and backward of a scan of elements must read and write, each as large as all states:
a, b and h; a, dh and db; db, h and da."""

Recurrence = Callable[..., Tensor]
Case = tuple[str, Recurrence, Recurrence, list[Tensor]]


def linear_loop(a: Tensor, b: Tensor) -> Tensor:
    h, states = torch.zeros_like(b[:, 0]), []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        h = a_t * h + b_t
        states.append(h)
    return torch.stack(states, 1)


def max_plus_loop(f: Tensor, i: Tensor) -> Tensor:
    m, states = torch.full_like(i[:, 0], -torch.inf), []
    for f_t, i_t in zip(f.unbind(1), i.unbind(1), strict=True):
        m = torch.maximum(m + f_t, i_t)
        states.append(m)
    return torch.stack(states, 1)


def attention_loop(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None = None, *, decay: str = "head"
) -> Tensor:
    axes = {"head": (-1, -1), "key": (-1,), "value": (-2,)}[decay]
    S, outputs = q.new_zeros(len(q), HEADS, KEYS, VALUES), []
    gates = [None] * q.shape[1] if g is None else g.unbind(1)
    for q_t, k_t, v_t, g_t in zip(q.unbind(1), k.unbind(1), v.unbind(1), gates, strict=True):
        if g_t is not None:
            a = g_t.exp()
            for axis in axes:
                a = a.unsqueeze(axis)
            S = a * S
        S = S + k_t.unsqueeze(-1) * v_t.unsqueeze(-2)
        outputs.append((q_t.unsqueeze(-2) @ S).squeeze(-2))
    return torch.stack(outputs, 1)


def delta_loop(
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    *,
    decay: str,
) -> Tensor:
    S, outputs = q.new_zeros(len(q), HEADS, KEYS, VALUES), []
    for q_t, l_t, r_t, k_t, v_t, g_t in zip(
        *(x.unbind(1) for x in (q, l, r, k, v, g)), strict=True
    ):
        a = g_t.exp().unsqueeze(-1)
        a = a.unsqueeze(-1) if decay == "head" else a
        u = l_t.unsqueeze(-2) @ S
        S = a * S + r_t.unsqueeze(-1) * u + k_t.unsqueeze(-1) * v_t.unsqueeze(-2)
        outputs.append((q_t.unsqueeze(-2) @ S).squeeze(-2))
    return torch.stack(outputs, 1)


def product_loop(
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
) -> Tensor:
    S, outputs = q.new_zeros(len(q), HEADS, KEYS, VALUES), []
    for q_t, l_t, r_t, k_t, v_t, g_t in zip(
        *(x.unbind(1) for x in (q, l, r, k, v, g)), strict=True
    ):
        a = g_t.exp()[..., None, None]
        for j in range(UPDATES):
            u = l_t[:, j].unsqueeze(-2) @ S
            S = (a * S if j == 0 else S) + r_t[:, j].unsqueeze(-1) * u
            S = S + k_t[:, j].unsqueeze(-1) * v_t[:, j].unsqueeze(-2)
        outputs.append((q_t.unsqueeze(-2) @ S).squeeze(-2))
    return torch.stack(outputs, 1)


def cases(length: int) -> Iterator[Case]:
    for batch, sizes in ((1, (512,)), (4, (512,)), (1, (512, 16))):
        name = f"B={batch}, S={list(sizes)}"
        x = torch.randn(batch, length, *sizes)
        yield f"linear_scan {name}", linear_loop, linear_scan, [torch.rand_like(x), x]
        yield f"max_plus_scan {name}", max_plus_loop, max_plus_scan, [-torch.rand_like(x), x]
    rows = (1, length, HEADS)
    for batch in (1, 4):
        q, k, v = (torch.randn(batch, *rows[1:], d) for d in (KEYS, KEYS, VALUES))
        k = F.normalize(k, dim=-1)
        beta = torch.rand(batch, *rows[1:], 1)
        decays = {"head": beta[..., 0], "key": q.sigmoid(), "value": v.sigmoid()}
        yield (
            f"linear_attention none, B={batch}",
            attention_loop,
            lambda q, k, v: linear_attention(q, k, v, None),
            [q, k, v],
        )
        for decay, gate in decays.items():
            yield (
                f"linear_attention {decay}, B={batch}",
                partial(attention_loop, decay=decay),
                partial(linear_attention, decay=decay),
                [q, k, v, gate.log()],
            )
        for decay in ("head", "key"):
            yield (
                f"delta_rule {decay}, B={batch}",
                partial(delta_loop, decay=decay),
                partial(delta_rule, decay=decay),
                [q, k, -beta * k, beta * k, v, decays[decay].log()],
            )
        k = F.normalize(torch.randn(batch, length, UPDATES, HEADS, KEYS), dim=-1)
        v = torch.randn(batch, length, UPDATES, HEADS, VALUES)
        beta = 2.0 * torch.rand(batch, length, UPDATES, HEADS, 1)
        yield (
            f"delta_product {UPDATES} updates, B={batch}",
            product_loop,
            delta_product,
            [q, k, -beta * k, beta * k, v, decays["head"].log()],
        )


def step(function: Recurrence, arguments: list[Tensor], gradient: Tensor) -> None:
    leaves = [x.detach().requires_grad_() for x in arguments]
    function(*leaves).backward(gradient)


def main() -> None:
    prepare()
    torch.manual_seed(0)
    rate = bandwidth()
    print(f"{machine()}, {rate / 1e9:.1f} GB/s\n")
    print(
        "| recurrence | L | loop, ms | parallel, ms | loop / parallel | of at most | growth "
        "| loop, MiB | parallel, MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    before: dict[str, float] = {}
    for length in LENGTHS:
        for name, *forms, arguments in cases(length):
            if not all(word in name for word in sys.argv[1:]):
                continue
            expected, found = (form(*arguments) for form in forms)
            error = float((found - expected).norm() / expected.norm())
            if not error <= BOUND:
                sys.exit(f"{name}: the forms differ by {error:.1e}; nothing was timed")
            gradient = torch.randn_like(expected)
            steps = [partial(step, form, arguments, gradient) for form in forms]
            loop, parallel = interleaved(steps, ROUNDS)
            growth = f"{parallel.seconds / before[name]:.1f}" if name in before else ""
            before[name] = parallel.seconds
            least = ARRAYS * gradient.nbytes / rate
            most = f"{loop.seconds / least:.1f}" if "scan" in name else ""
            print(
                f"| {name} | {length} | {loop.seconds * 1e3:.1f} | {parallel.seconds * 1e3:.1f} "
                f"| {loop.seconds / parallel.seconds:.1f} | {most} | {growth} "
                f"| {loop.mebibytes:.0f} | {parallel.mebibytes:.0f} |",
                flush=True,
            )
    print(f"\nLinear is {LENGTHS[-1] / LENGTHS[0]:.0f} in growth.\n{machine()}")


if __name__ == "__main__":
    main()
