"""`rearrange`, `repeat`, `reduce` and `einsum`, held against a walk over all elements."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch

from gabc.dims import Dim
from gabc.graph.nodes import Argument, Value
from gabc.graph.types import TensorType
from gabc.ops import PRIMITIVES
from gabc.ops.base import Call, Refused
from gabc.ops.patterns_parse import PatternFault, parse_pattern, spaced
from gabc.syntax.source import Source, Span

from .harness import SIZES, Given, Prover, T, bind, check, dims, lowered, refusal, result_types

Groups = list[tuple[str, ...]]
Array = npt.NDArray[np.float64]
REDUCTIONS: dict[str, Callable[[list[float]], float]] = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
}


def code_of(primitive: str, args: Mapping[str, Given]) -> str:
    bound = bind(primitive, args)
    return lowered(bound, result_types(bound))


# ---------------------------------------------------------------- what is written


@pytest.mark.parametrize(
    ("shape", "pattern", "sizes", "code"),
    [
        ("B L H*K", "b l (h k) -> b l h k", {"k": "K"}, "x_0.unflatten(-1, (H, K))"),
        ("B L H*K", "b l (h k) -> b l h k", {"h": "H"}, "x_0.unflatten(-1, (H, K))"),
        (
            "B L H*K",
            "b l (h k) -> b h l k",
            {"k": "K"},
            "x_0.unflatten(-1, (H, K)).transpose(1, 2)",
        ),
        ("B L H K", "b l h k -> b l (h k)", {}, "x_0.flatten(-2)"),
        ("B L H K V", "b l h k v -> b l (h k) v", {}, "x_0.flatten(-3, -2)"),
        ("B L H K", "b l h k -> b h l k", {}, "x_0.transpose(1, 2)"),
        ("B L H K", "b l h k -> b k l h", {}, "x_0.permute(0, 3, 1, 2)"),
        ("B L D", "b l d -> b l d", {}, "x_0"),
        ("B L D", "b l d -> b l 1 d", {}, "x_0.unsqueeze(-2)"),
        ("B L 1 D", "b l 1 d -> b l d", {}, "x_0.squeeze(-2)"),
        ("B L 1 D", "b l () d -> b 1 l d", {}, "x_0.transpose(1, 2)"),
        ("B L D", "... d -> d ...", {}, "x_0.permute(2, 0, 1)"),
        ("B L H*K", "... (h k) -> ... h k", {"h": "H"}, "x_0.unflatten(-1, (H, K))"),
        (
            "B L H*K",
            "b l (h k) -> b l (k h)",
            {"h": "H"},
            "x_0.unflatten(-1, (H, K)).transpose(-2, -1).flatten(-2)",
        ),
    ],
)
def test_rearrange_is_the_shortest_chain(
    shape: str, pattern: str, sizes: dict[str, Given], code: str
) -> None:
    args = {"x": T(shape), "pattern": pattern, **sizes}
    check("rearrange", args)
    assert code_of("rearrange", args) == code


@pytest.mark.parametrize(
    ("shape", "pattern", "sizes", "code"),
    [
        ("B L G K", "b l g k -> b l (g n) k", {"n": "N"}, "x_0.repeat_interleave(N, dim=-2)"),
        (
            "B L G K",
            "b l g k -> b l (n g) k",
            {"n": "N"},
            "x_0.unsqueeze(-3).expand(-1, -1, N, -1, -1).flatten(-3, -2)",
        ),
        ("B L D", "b l d -> b l n d", {"n": "N"}, "x_0.unsqueeze(-2).expand(-1, -1, N, -1)"),
        ("D", "d -> n m d", {"n": "N", "m": "M"}, "x_0.expand(N, M, -1)"),
        ("B L", "b l -> b l 1", {}, "x_0.unsqueeze(-1)"),
    ],
)
def test_repeat(shape: str, pattern: str, sizes: dict[str, Given], code: str) -> None:
    args = {"x": T(shape), "pattern": pattern, **sizes}
    check("repeat", args)
    assert code_of("repeat", args) == code


@pytest.mark.parametrize(
    ("shape", "pattern", "op", "sizes", "code"),
    [
        ("B L D", "b l d -> b l", "mean", {}, "x_0.mean(-1)"),
        ("B L D", "b l d -> b l 1", "max", {}, "x_0.amax(-1, keepdim=True)"),
        ("B L H*K", "b l (h k) -> b l h", "sum", {"h": "H"}, "x_0.unflatten(-1, (H, K)).sum(-1)"),
        ("B L H K", "b l h k -> b l", "min", {}, "x_0.amin((-2, -1))"),
        ("B L H K", "b l h k -> b l", "prod", {}, "x_0.prod(-1).prod(-1)"),
        ("B L H K", "b l h k -> b k l", "sum", {}, "x_0.sum(-2).transpose(1, 2)"),
        ("B L D", "... d -> ...", "sum", {}, "x_0.sum(-1)"),
    ],
)
def test_reduce(shape: str, pattern: str, op: str, sizes: dict[str, Given], code: str) -> None:
    args = {"x": T(shape), "pattern": pattern, "op": op, **sizes}
    check("reduce", args)
    assert code_of("reduce", args) == code


@pytest.mark.parametrize(
    ("pattern", "shapes", "code"),
    [
        (
            "b h k, b h k v -> b h v",
            ("B H K", "B H K V"),
            'torch.einsum("bhk,bhkv->bhv", x_0, x_1)',
        ),
        ("b q h, b k h -> b q k", ("B N H", "B M H"), 'torch.einsum("bqh,bkh->bqk", x_0, x_1)'),
        ("b key d, b kin d -> b key kin", ("B N D", "B M D"), None),
        ("b l d, d k -> b l k", ("B L D", "D K"), None),
        ("b k, b v, b -> b k v", ("B K", "B V", "B"), None),
        ("... d, d k -> ... k", ("B L D", "D K"), 'torch.einsum("...d,dk->...k", x_0, x_1)'),
        ("... d, ... d -> ...", ("B L D", "L D"), None),
        ("b l 1, d -> b l d", ("B L 1", "D"), 'torch.einsum("bl,d->bld", x_0.squeeze(-1), x_1)'),
        ("b l d -> b 1 l", ("B L D",), 'torch.einsum("bld->bl", x_0).unsqueeze(1)'),
        ("b d, b d ->", ("B D", "B D"), None),
    ],
)
def test_einsum(pattern: str, shapes: Sequence[str], code: str | None) -> None:
    args: dict[str, Given] = {"pattern": pattern, "xs": tuple(T(shape) for shape in shapes)}
    check("einsum", args)
    if code is not None:
        assert code_of("einsum", args) == code


def test_einsum_of_long_names_has_a_letter_for_each() -> None:
    args: dict[str, Given] = {
        "pattern": "b key d, b kin d -> b key kin",
        "xs": (T("B N D"), T("B M D")),
    }
    assert code_of("einsum", args) == 'torch.einsum("bkd,bKd->bkK", x_0, x_1)'


def test_einsum_of_complex_numbers() -> None:
    check("einsum", {"pattern": "n, n ->", "xs": (T("N", "complex"), T("N", "complex"))})


# ---------------------------------------------------------------- against all elements


def random_side(rng: random.Random, letters: Sequence[str]) -> Groups:
    """The letters in a random order, some of them in groups, with unit axes between."""
    left = rng.sample(list(letters), len(letters))
    groups: Groups = []
    while left:
        if rng.random() < 0.15:
            groups.append(())
        free = next((i for i, name in enumerate(left) if name in "bl"), len(left))
        width = 1 if free == 0 else rng.randint(1, min(3, free))
        groups.append(tuple(left[:width]))
        left = left[width:]
    return groups


def written(groups: Groups) -> str:
    def one(group: tuple[str, ...]) -> str:
        return group[0] if len(group) == 1 else f"({' '.join(group)})" if group else "1"

    return " ".join(one(group) for group in groups)


def shape_of(groups: Groups) -> str:
    return " ".join("*".join(name.upper() for name in group) or "1" for group in groups)


def given_sizes(rng: random.Random, groups: Groups) -> dict[str, Given]:
    """Sizes for all letters but perhaps one of each group."""
    sizes: dict[str, Given] = {}
    for group in groups:
        unknown = rng.choice(group) if group and rng.random() < 0.8 else None
        sizes.update({name: name.upper() for name in group if name != unknown})
    return sizes


def place(groups: Groups, at: Mapping[str, int]) -> tuple[int, ...]:
    """Where the element with these positions along the letters stands in a tensor."""
    index = []
    for group in groups:
        flat = 0
        for name in group:
            flat = flat * SIZES[name.upper()] + at[name]
        index.append(flat)
    return tuple(index)


def positions(letters: Sequence[str]) -> list[dict[str, int]]:
    ranges = [range(SIZES[name.upper()]) for name in letters]
    return [dict(zip(letters, at, strict=True)) for at in itertools.product(*ranges)]


def extent(groups: Groups) -> list[int]:
    last = place(groups, {name: SIZES[name.upper()] - 1 for group in groups for name in group})
    return [n + 1 for n in last]


def drawn(primitive: str, args: Mapping[str, Given]) -> list[Array]:
    return [tensor.numpy() for tensor in bind(primitive, args).tensors.values()]


@pytest.mark.parametrize("seed", range(40))
def test_any_rearrangement(seed: int) -> None:
    rng = random.Random(seed)
    letters = rng.sample("blhkgv", rng.randint(1, 5))
    left, right = random_side(rng, letters), random_side(rng, letters)
    pattern = f"{written(left)} -> {written(right)}"
    args: dict[str, Given] = {"x": T(shape_of(left)), "pattern": pattern, **given_sizes(rng, left)}
    (found,) = check("rearrange", args, smooth=False)
    (x,) = drawn("rearrange", args)
    expected = np.empty(extent(right))
    for at in positions(letters):
        expected[place(right, at)] = x[place(left, at)]
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("seed", range(40))
def test_any_repetition(seed: int) -> None:
    rng = random.Random(seed)
    letters = rng.sample("blhkgv", rng.randint(1, 4))
    new = rng.sample("nc", rng.randint(1, 2))
    left, right = random_side(rng, letters), random_side(rng, [*letters, *new])
    pattern = f"{written(left)} -> {written(right)}"
    sizes = {**given_sizes(rng, left), **{name: name.upper() for name in new}}
    args: dict[str, Given] = {"x": T(shape_of(left)), "pattern": pattern, **sizes}
    (found,) = check("repeat", args, smooth=False)
    (x,) = drawn("repeat", args)
    expected = np.empty(extent(right))
    for at in positions([*letters, *new]):
        expected[place(right, at)] = x[place(left, at)]
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("seed", range(40))
def test_any_reduction(seed: int) -> None:
    rng = random.Random(seed)
    letters = rng.sample("blhkgv", rng.randint(1, 5))
    kept = [name for name in letters if rng.random() < 0.6]
    op = rng.choice(list(REDUCTIONS))
    left, right = random_side(rng, letters), random_side(rng, kept)
    pattern = f"{written(left)} -> {written(right)}"
    sizes = given_sizes(rng, left)
    args: dict[str, Given] = {"x": T(shape_of(left)), "pattern": pattern, "op": op, **sizes}
    (found,) = check("reduce", args, smooth=False)
    (x,) = drawn("reduce", args)
    parts: dict[tuple[int, ...], list[float]] = {}
    for at in positions(letters):
        parts.setdefault(place(right, at), []).append(x[place(left, at)])
    expected = np.empty(extent(right))
    for index, values in parts.items():
        expected[index] = REDUCTIONS[op](values)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11)


@pytest.mark.parametrize("seed", range(40))
def test_any_einsum(seed: int) -> None:
    rng = random.Random(seed)
    letters = rng.sample("blhkgvn", rng.randint(1, 5))
    sides: list[Groups] = []
    for _ in range(rng.randint(1, 3)):
        chosen = rng.sample(letters, rng.randint(0, len(letters)))
        sides.append([(name,) for name in chosen] + ([()] if rng.random() < 0.2 else []))
    used = sorted({name for side in sides for group in side for name in group})
    output: Groups = [(name,) for name in rng.sample(used, rng.randint(0, len(used)))]
    pattern = f"{', '.join(map(written, sides))} -> {written(output)}"
    args: dict[str, Given] = {"pattern": pattern, "xs": tuple(T(shape_of(side)) for side in sides)}
    (found,) = check("einsum", args, smooth=False)
    xs = drawn("einsum", args)
    expected = np.zeros(extent(output))
    for at in positions(used):
        factors = [x[place(side, at)] for x, side in zip(xs, sides, strict=True)]
        expected[place(output, at)] += np.prod(factors)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("pattern", "sizes", "code", "message", "help"),
    [
        ("b l d", {}, "GAB0205", "no `->`", "b l (h k) -> b l h k"),
        ("b -> l -> d", {}, "GAB0205", "two `->`", ""),
        ("b l (h k -> b l h k", {}, "GAB0205", "never closed (position 5", ""),
        ("b l h) -> b l h", {}, "GAB0205", "`)` closes nothing (position 6", ""),
        ("b l ((h k)) -> b l h k", {}, "GAB0205", "inside brackets (position 6", ""),
        (
            "b l D -> b l D",
            {},
            "GAB0205",
            "`D` cannot stand in a pattern (position 5",
            "lower-case",
        ),
        ("b b d -> b d", {}, "GAB0205", "`b` stands twice", "name of its own"),
        ("b l (h k) -> b l h k", {}, "GAB0205", "sizes of `h` and `k` are not known", "`h=...`"),
        ("b l d -> b l e", {}, "GAB0205", "`e` stands on the right only (position 14", "`repeat`"),
        ("b l d -> b l", {}, "GAB0205", "`d` stands on the left only (position 5", "`reduce`"),
        ("b len d -> b lem d", {}, "GAB0205", "`lem` stands on the right only", "mean `len`?"),
        ("b d -> b d", {}, "GAB0202", "names 2 axes, and the value [B, L, D] has 3", "`...`"),
        ("b l d -> b (l d)", {}, "GAB0205", "cannot merge the time axis, here `l`", "`unblocks"),
        ("b l d -> (b d) l", {}, "GAB0205", "cannot merge the batch axis, here `b`", "`blocks`"),
        ("b (n l) d -> b n l d", {"n": "N"}, "GAB0205", "cannot split the time axis", "`blocks("),
        ("b l (h k) -> b l h k", {"h": "C", "g": "H"}, "GAB0106", "no such axis", ""),
        ("b l (head k) -> b l head k", {"heads": "H"}, "GAB0106", "no such axis", "mean `head`?"),
        ("b l (h k) -> b l h k", {"h": "H"}, "GAB0203", "`h` = `H` does not divide it", ""),
        (
            "b l (h k) -> b l h k",
            {"h": "H", "k": "K"},
            "GAB0201",
            "but the axis of the value is `D`",
            "",
        ),
        ("b 1 d -> b d", {}, "GAB0201", "where its pattern has a unit axis", "name"),
        ("b l d -> b l d ...", {}, "GAB0205", "`...` stands on the right only", ""),
        ("b, l -> b l", {}, "GAB0205", "describes 2 tensors", "separated by commas"),
    ],
)
def test_rearrange_refuses(
    pattern: str, sizes: dict[str, Given], code: str, message: str, help: str
) -> None:
    found = refusal("rearrange", {"x": T("B L D"), "pattern": pattern, **sizes})
    assert found.code == code
    assert message in found.message
    assert help in found.help


def test_a_size_that_divides_only_sometimes_is_an_obligation() -> None:
    check("rearrange", {"x": T("B L D"), "pattern": "b l (k h) -> b l k h", "k": "K"})


def test_repeat_refuses() -> None:
    found = refusal("repeat", {"x": T("B L D"), "pattern": "b l d -> b l n d"})
    assert "`n` stands on the right only" in found.message
    assert found.help == "give the new axis its size: `n=...`"
    found = refusal("repeat", {"x": T("D"), "pattern": "d -> t d", "t": "L"})
    assert found.code == "GAB0207"
    found = refusal("repeat", {"x": T("B L D"), "pattern": "b l d -> b (l n) d", "n": "N"})
    assert "cannot merge the time axis" in found.message
    found = refusal("repeat", {"x": T("B L D"), "pattern": "b l d -> b l"})
    assert "`d` stands on the left only" in found.message


def test_reduce_refuses() -> None:
    found = refusal("reduce", {"x": T("B L D"), "pattern": "b l d -> b l", "op": "men"})
    assert (found.code, found.help) == ("GAB0109", "did you mean `mean`?")
    found = refusal("reduce", {"x": T("B L D", "int"), "pattern": "b l d -> b l", "op": "mean"})
    assert found.code == "GAB0109"
    found = refusal("reduce", {"x": T("B L D"), "pattern": "b l d -> b l n", "op": "sum"})
    assert "`n` stands on the right only" in found.message


@pytest.mark.parametrize(
    ("pattern", "shapes", "code", "message", "help"),
    [
        ("b l d, d k -> b l k", ("B L D", "K V"), "GAB0201", "`d` is `D` in operand 1", ""),
        ("b l d, d -> b l d", ("B L D", "1"), "GAB0201", "in operand 2 [1]", "write `1` for it"),
        ("b l d, d k -> b l e", ("B L D", "D K"), "GAB0205", "`e` stands on the right only", ""),
        ("b (l d) -> b", ("B D",), "GAB0205", "neither splits nor merges", "`rearrange`"),
        (
            "b l d -> b l",
            ("B L D", "D"),
            "GAB0205",
            "describes 1 tensor, and `einsum` is given 2",
            "",
        ),
        ("b i i -> b i", ("B K K",), "GAB0205", "`i` stands twice in one tensor", ""),
        ("b 1 -> b", ("B D",), "GAB0205", "`1` stands for an axis of size `D`", ""),
        ("b d, d -> b", ("B D",), "GAB0205", "describes 2 tensors", ""),
    ],
)
def test_einsum_refuses(
    pattern: str, shapes: Sequence[str], code: str, message: str, help: str
) -> None:
    xs = tuple(T(shape) for shape in shapes)
    found = refusal("einsum", {"pattern": pattern, "xs": xs})
    assert found.code == code
    assert message in found.message
    assert help in found.help


def test_einsum_refuses_masks_and_mixed_kinds() -> None:
    args: dict[str, Given] = {"pattern": "b, b -> b", "xs": (T("B"), T("B", "bool"))}
    assert refusal("einsum", args).code == "GAB0109"
    args["xs"] = (T("B"), T("B", "complex"))
    assert refusal("einsum", args).code == "GAB0109"


def test_compact_notation_gets_its_spaces() -> None:
    text = "einsum('bld,de->ble', x, w)"
    source = Source("t.gab", text)
    whole = Span(source, 0, len(text))
    spans = {"pattern": Span(source, 7, 20)}
    values = tuple(Value(TensorType("float", dims(shape)), whole) for shape in ("B L D", "D K"))
    args: dict[str, Argument] = {"pattern": "bld,de->ble", "xs": values}
    call = Call(PRIMITIVES["einsum"], args, spans, whole, Prover(), Dim.symbol("L"))
    with pytest.raises(Refused) as refused:
        PRIMITIVES["einsum"].shape(call)
    found = refused.value.diagnostic
    assert found.code == "GAB0205"
    assert found.span.text == "bld"
    (edit,) = found.fixes[0].edits
    assert edit.span.text == "'bld,de->ble'"
    assert edit.text == '"b l d, d e -> b l e"'
    repaired: dict[str, Given] = {"pattern": edit.text[1:-1], "xs": (T("B L D"), T("D K"))}
    check("einsum", repaired)


def test_the_span_is_the_letter() -> None:
    text = 'rearrange(x, "b l d -> b l e")'
    source = Source("t.gab", text)
    whole = Span(source, 0, len(text))
    value = Value(TensorType("float", dims("B L D")), whole)
    args: dict[str, Argument] = {"x": value, "pattern": "b l d -> b l e"}
    spans = {"pattern": Span(source, 13, 29)}
    call = Call(PRIMITIVES["rearrange"], args, spans, whole, Prover(), None)
    with pytest.raises(Refused) as refused:
        PRIMITIVES["rearrange"].shape(call)
    span = refused.value.diagnostic.span
    assert (span.start, span.text) == (27, "e")


def test_spaced() -> None:
    assert spaced("bld,de->ble") == "b l d, d e -> b l e"
    assert spaced("...d,de->...e") == "... d, d e -> ... e"


@pytest.mark.parametrize("text", ["", "->", "-> b", "b ->", "1 -> ()", "( ) -> 1", "b,->b"])
def test_empty_sides_parse(text: str) -> None:
    if "->" in text:
        parse_pattern(text)
    else:
        with pytest.raises(PatternFault):
            parse_pattern(text)


def test_bool_and_int_values_move_too() -> None:
    pattern = "b l (h k) -> b h l k"
    check("rearrange", {"x": T("B L H*K", "bool"), "pattern": pattern, "h": "H"})
    (counted,) = check("reduce", {"x": T("B L D", "bool"), "pattern": "b l d -> b l", "op": "sum"})
    assert counted.dtype == torch.int64
