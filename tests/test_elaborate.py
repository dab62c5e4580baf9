"""Elaboration: limits hold within a second, layers share what does not differ."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gabc.check.report import Report, check
from gabc.diagnostics.fixes import apply_fixes
from gabc.elaborate.scales import parse_scale
from gabc.syntax.source import Source

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"


def checked(text: str, scale: str = "14M") -> Report:
    return check(Source("design.gab", text), scales=(parse_scale(scale),))


def codes(report: Report) -> list[str]:
    return [d.code for d in report.diagnostics]


def design(members: str, body: str, units: str = "") -> str:
    return f"gab Root\n{units}\nunit Root() {{\n{members}\nforward(X) {{\n{body}\n}}\n}}\n"


def unit(name: str, members: str = "", body: str = "return X", hypers: str = "") -> str:
    return f"unit {name}({hypers}) {{\n{members}\nforward(X) {{\n{body}\n}}\n}}\n"


# ---------------------------------------------------------------- hostile designs

SCALE_UNIT = unit("Leaf", "", "return 0.5 * X")


def doubling(levels: int) -> str:
    """Every unit holds two of the one before: 2 ** levels units in all."""
    parts = [unit("U0")]
    for level in range(1, levels):
        children = f"a = U{level - 1}()\nb = U{level - 1}()"
        parts.append(unit(f"U{level}", children, "return a(b(X))"))
    return design(f"top = U{levels - 1}()", "return top(X)", "".join(parts))


def chain(levels: int) -> str:
    """Units inside each other, so many deep."""
    parts = [unit("U0")]
    for level in range(1, levels):
        parts.append(unit(f"U{level}", f"a = U{level - 1}()", "return a(X)"))
    return design(f"top = U{levels - 1}()", "return top(X)", "".join(parts))


def slots(levels: int) -> str:
    """A tree of slots, as deep as brackets may nest."""
    tree = "Wrap(inner=" * levels + "Leaf()" + ")" * levels
    wrap = unit("Wrap", "", "return inner(X)", "inner: unit")
    return design(f"top = {tree}", "return top(X)", SCALE_UNIT + wrap)


def nested_loops(count: int) -> str:
    return design(
        "", f"for i in range({count}) {{ for j in range({count}) {{ X = X + i * j }} }} return X"
    )


LARGE = {
    "a billion children": design("a = Leaf() * 1000000000", "return a[0](X)", SCALE_UNIT),
    "nested loops": nested_loops(10_000),
    "nested loops, each within the limit": nested_loops(1_000),
    "a loop in a loop of calls": design(
        "",
        "for i in range(500) { X = many(X) } return X",
        "fn many(x) { for i in range(500) { x = x + i } return x }\n",
    ),
    "doubling": doubling(40),
    "chain": chain(200),
    "a dim of 10 ** 30": design("a = Linear(D, 10 ** 30)", "return a(X)"),
    "a dim of 10 ** 60 by product": design("a = Linear(D, 10 ** 30 * 10 ** 30)", "return a(X)"),
    "a product of widths": design("a = Linear(D, D ** 8)", "return a(X)[..., :D]"),
    "many parts": design("", "a, b = split(X, parts=1000000000, axis=-1) return a"),
}
"""Designs beyond a limit: each is refused with GAB0701 at least."""

ABSURD = {
    "a power of a power": "return X * 10 ** 10 ** 10",
    "a huge exponent": "return X * 7 ** (10 ** 9)",
    "a huge float": "return X * 2.0 ** (10.0 ** 9)",
    "repeated squares": "return X * ((((10 ** 60) ** 60) ** 60) ** 60)",
    "a factorial by loops": "y = X * 1 for i in range(900) { y = y * (10 ** i) } return y",
    "a huge dim polynomial": "return X + zeros((D + layer + n_layers + 1) ** 40)[0]",
    "nested powers of a dim": "return X + zeros(((D ** 60) ** 60) ** 60)[0]",
}
"""Statics without a value that is accepted: refused, by whatever names the reason."""


@pytest.mark.parametrize("name", LARGE)
def test_limits_are_stated_within_a_second(name: str) -> None:
    start = time.process_time()
    report = checked(LARGE[name])
    assert time.process_time() - start < 1.0
    assert "GAB0701" in codes(report)


@pytest.mark.parametrize("name", ABSURD)
def test_numbers_without_end_are_refused(name: str) -> None:
    start = time.process_time()
    report = checked(design("", ABSURD[name]))
    assert time.process_time() - start < 1.0
    assert not report.ok


def test_what_is_within_the_limits_is_accepted() -> None:
    assert checked(chain(60)).ok
    assert checked(slots(25)).ok
    assert checked(design("a = Leaf() * 1000", "return a[999](X)", SCALE_UNIT)).ok
    long_sum = "return X" + " + X" * 200
    assert checked(design("", long_sum, "")).ok


def test_deep_units_with_deep_expressions_do_not_exhaust_the_stack() -> None:
    deep = chain(60).replace("return a(X)", "return a(" + "-(" * 50 + "X" + ")" * 50 + ")")
    assert checked(deep).ok


def test_a_huge_list_is_read_in_time() -> None:
    numbers = ", ".join(["1"] * 20_000)
    start = time.process_time()
    report = checked(design("", f"for i in [{numbers}] {{ X = X + i }} return X"))
    assert "GAB0701" in codes(report)
    assert time.process_time() - start < 2.0  # most of it parses 40,000 tokens


def test_many_layers_that_differ_are_fast() -> None:
    """200 blocks, each with a part of its own: what does not depend on the layer is shared."""
    text = (EXAMPLES / "rwkv6.gab").read_text(encoding="utf-8")
    text = text.replace("X = X + time_mix", "X = X * (1.0 + layer) + time_mix")
    start = time.process_time()
    report = checked(text, "1T")
    assert report.ok
    assert time.process_time() - start < 1.5
    blocks = report.stacks["1T"].blocks
    assert len({id(block) for block in blocks}) == 200
    assert len({id(block.children["time_mix"].instances[0]) for block in blocks}) == 1


def test_hostile_designs_stay_within_500_megabytes() -> None:
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (500 << 20, 500 << 20))\n"
        "import test_elaborate as t\n"
        "for text in t.LARGE.values(): assert not t.checked(text).ok\n"
        "for body in t.ABSURD.values(): assert not t.checked(t.design('', body)).ok\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=HERE, env=env, check=True)


# ---------------------------------------------------------------- sharing


def test_a_stack_without_layers_has_one_block() -> None:
    text = (EXAMPLES / "gpt2.gab").read_text(encoding="utf-8")
    blocks = checked(text).stacks["14M"].blocks
    assert len(blocks) == 6
    assert len({id(block) for block in blocks}) == 1


def test_instances_given_other_values_are_not_shared() -> None:
    text = design(
        "a = Scale(factor=1.0 + layer)\nb = Scale(factor=2.0)",
        "return a(b(X))",
        unit("Scale", "", "return factor * X", "factor: float"),
    )
    blocks = checked(text).stacks["14M"].blocks
    factors = [block.children["a"].instances[0].env["factor"] for block in blocks]
    assert factors == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert len({id(block.children["b"].instances[0]) for block in blocks}) == 1


def test_equal_children_of_one_block_are_two() -> None:
    text = design("a = Linear(D, D)\nb = Leaf()\nc = Leaf()", "return a(b(c(X)))", SCALE_UNIT)
    block = checked(text).stacks["14M"].blocks[0]
    assert block.children["b"].instances[0] is not block.children["c"].instances[0]


# ---------------------------------------------------------------- purity


def test_the_recursion_limit_is_left_as_it_was() -> None:
    before = sys.getrecursionlimit()
    checked(doubling(10))
    assert sys.getrecursionlimit() == before


def test_torch_is_not_imported() -> None:
    code = "import gabc.check.report, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- what a review found


def test_a_branch_not_taken_makes_no_child() -> None:
    text = design(
        "a = Wrap(inner=Leaf())",
        "return a(X)",
        SCALE_UNIT + unit("Wrap", "", "s = 1.0 if D > 0 else inner(X) return s * X", "inner: unit"),
    )
    report = checked(text)
    assert report.ok
    assert not report.stacks["14M"].blocks[0].children["a"].instances[0].children


def test_sizes_of_children_called_by_one_name_are_told_apart() -> None:
    """In a loop, and in a `Sequential`: each has its own value of `K`."""
    narrow = unit(
        "Part", "dim K = sizes[at]\np = Linear(D, K)", "return p(X)", "sizes: [int], at: int"
    )
    narrow = narrow.replace("sizes: [int]", "sizes: list[int]")
    parts = "ps = [Part(sizes=[D, 8], at=0), Part(sizes=[D, 8], at=1)]"
    ok = checked(
        design(parts.replace("at=1", "at=0"), "for p in ps { X = X + p(X) } return X", narrow)
    )
    assert ok.ok
    wrong = checked(design(parts, "for p in ps { X = X + p(X) } return X", narrow))
    assert codes(wrong) == ["GAB0201"]


def test_a_size_that_is_no_number_is_an_error_at_every_scale() -> None:
    """The second scale adds no finding, and no stack either."""
    text = design("dim K = D / 3\np = Linear(D, K)\nq = Linear(K, D)", "return q(p(X))")
    report = check(Source("design.gab", text), scales=(parse_scale("128x2"), parse_scale("256x2")))
    assert codes(report) == ["GAB0203"]
    assert not report.stacks


def test_an_augmented_assignment_is_one_error() -> None:
    assert codes(checked(design("", "X += 1.0\nreturn X"))) == ["GAB0011"]
    unknown = checked(design("", "y *= X\nreturn X + y"))
    assert sorted(codes(unknown)) == ["GAB0011", "GAB0101"]


def test_the_fix_of_an_import_keeps_every_use() -> None:
    text = "from std.norm import RmsNorm\n" + unit("U", "n = RmsNorm()", "return n(X)")
    source = Source("design.gab", text)
    fixed = apply_fixes(source, lambda changed: check(changed).diagnostics, unsafe=True)
    assert "import RMSNorm as RmsNorm" in fixed.text
    assert not fixed.remaining
