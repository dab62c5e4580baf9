"""The recurrent and hybrid designs: proved at every scale, one function in both back ends.

`docs/parity.md` is kept in step; rewrite its part with `--update-golden`.
"""

from __future__ import annotations

import pytest
from generator.compare import differences, drawn_state, run_compiled, run_reference, tokens_of

from gabc.check.report import check
from gabc.elaborate.scales import parse_scale
from gabc.runtime.model import build
from gabc.syntax.source import Source

from .page import require_section
from .recurrent_cases import DOUBLE, MIXERS, MODELS, NOT_COMPARED, PAPER, PAPERS, SINGLE
from .weights import stack_of, text_of

SIZES: dict[str, dict[str, int]] = {
    "falcon_h1": {},
    "gated_deltanet": {},
    "gla": {},
    "griffin": {"window": 3},
    "gsa": {"slots": 5},
    "deltanet": {},
    "deltaproduct": {},
    "h3": {},
    "hgrn": {},
    "hgrn2": {},
    "hyena": {},
    "jamba": {"period": 3, "offset": 1},
    "kimi_linear": {"period": 3},
    "lru": {},
    "mamba": {},
    "mingru": {},
    "minimax": {"period": 3},
    "minlstm": {},
    "qwen3_next": {"period": 3},
    "rwkv4": {},
    "rwkv5": {},
    "rwkv7": {},
    "s4d": {"pairs": 4},
    "samba": {"window": 3},
    "titans": {"window": 3},
    "ttt_mlp": {},
    "xlstm": {},
    "zamba": {"period": 3, "offset": 1},
}
"""The designs, each with sizes at which three blocks and nine tokens show all of it."""

SEQUENTIAL = {"titans", "xlstm"}
"""Those with a recurrence that has no parallel form: momentum, sLSTM."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_proved_at_every_scale(name: str) -> None:
    """Without a warning, but that a recurrence is a loop where it must be one."""
    scales = [parse_scale(scale) for scale in ("14M", "125M", "1300M")]
    report = check(Source(f"{name}.gab", text_of(name)), scales=scales)
    codes = {diagnostic.code for diagnostic in report.diagnostics}
    assert codes == ({"GAB0720"} if name in SEQUENTIAL else set())
    assert len(report.stacks) == len(scales)
    assert all(proofs.are_proved for proofs in report.proofs.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_compiled_equals_the_interpreter(name: str) -> None:
    stack = stack_of(name, "64x3", **SIZES[name])
    model = build(stack, vocab_size=20)
    state, tokens = drawn_state(model, seed=2), tokens_of(9, 20)
    expected = run_reference(stack, state, tokens)
    assert expected.gradients["embedding.weight"].any()
    assert not differences(expected, run_compiled(model, state, tokens))


def test_every_design_of_the_tables_is_run() -> None:
    designs = {*MODELS}
    for case in (*MIXERS.values(), *PAPERS.values()):
        designs |= set(case.design.split(", "))
    assert designs - {"mamba2"} <= SIZES.keys()


def section() -> str:
    """The part of the page about recurrent and hybrid designs."""
    whole = ["| design | compared with | float64 | float32 |", "| --- | --- | --- | --- |"]
    for name, model in MODELS.items():
        whole.append(
            f"| {model.title}, `examples/{name}.gab` | transformers: {model.compared} "
            f"| {DOUBLE:.0e} | {SINGLE:.0e} |"
        )
    units = [
        "| architecture | unit | in | compared with | float64 | float32 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for mixer in MIXERS.values():
        units.append(
            f"| {mixer.title} | `std.{mixer.unit}` | {mixer.design} "
            f"| transformers: {mixer.compared} | {DOUBLE:.0e} | {SINGLE:.0e} |"
        )
    for title, paper in PAPERS.items():
        fla = "" if paper.fla is None else f"; fla-core: `fla.ops.{paper.fla.replace(': ', '.')}`"
        units.append(
            f"| {title} | `std.{paper.unit}` | {paper.design} "
            f"| the formulas of {paper.source}{fla} | {PAPER:.0e} | |"
        )
    left = ["| not compared | why |", "| --- | --- |"]
    left += [f"| {what} | {why} |" for what, why in NOT_COMPARED]
    return "\n".join([*whole, "", *units, "", *left])


def test_page_is_up_to_date(update_golden: bool) -> None:
    require_section("recurrent", section(), update_golden)
