"""Run the generated kernels of designs in Triton's interpreter and print one JSON object.

Run as a program with TRITON_INTERPRET=1, as `interpret.py`. Arguments: names of examples, or seeds
of `tests/generator`. Each model runs forward and backward on the CPU, which calls the plain form;
every call is then repeated with its operands by the Triton kernels. Result: for each kernel and
dtype the list of differences of results and gradients. Every `torch.empty` is NaN.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from gabc.kernels import launch
from gabc.kernels.cases import Difference, relative
from gabc.kernels.generated import Fused, operators, plain
from gabc.kernels.generated import launch as generated
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).parent.parent))

from designs import example, randomise
from generator.examine import stack_of as program_stack
from generator.program import generate

from gabc.codegen.emit import emit
from gabc.passes import optimise
from gabc.passes.fusion import fuse
from gabc.runtime.load import load

VOCAB = 17

SETTINGS = {torch.float32: (264, 64), torch.float16: (3, 256)}
"""For each dtype slabs of a sum and elements of a tile: so few that a row takes several tiles, and
a slab has several."""


FEW, DRAWS = 64, 16


class Calls(TorchDispatchMode):
    """The operands of the first call of each generated operator, by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, tuple[Any, ...]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == operators.NAMESPACE:
            self.found.setdefault(func._schema.name.partition("::")[2], args)
        return func(*args, **(kwargs or {}))


def main() -> None:
    torch.use_deterministic_algorithms(True)
    # The module replaces its own class to make this a property, which hides it from type checkers.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)  # noqa: B010
    assert torch.empty(3).isnan().all()
    found: dict[str, list[dict[str, object]]] = {}
    for name in sys.argv[1:]:
        for operator, args in calls_of(name).items():
            for dtype, (slabs, elements) in SETTINGS.items():
                launch.MAX_SLABS, generated.ELEMENTS = slabs, elements
                label = f"{name} {operator} {str(dtype).removeprefix('torch.')}"
                found[label] = [
                    {**asdict(difference), "is_sound": difference.is_sound}
                    for difference in over_draws(operator, args, dtype)
                ]
    print(json.dumps(found))


def calls_of(name: str) -> dict[str, tuple[Any, ...]]:
    """The calls that an example makes, forward and backward."""
    stack = program_stack(generate(int(name))) if name.isdigit() else example(name)
    assert not isinstance(stack, list), stack
    module = emit(fuse(optimise(stack)), standalone=False, vocab_size=VOCAB)
    model = load(module)(vocab_size=VOCAB, seed=0)
    randomise(model.eval())
    tokens = torch.randint(VOCAB, (2, 7), generator=torch.Generator().manual_seed(0))
    with Calls() as calls:
        model(tokens).sum().backward()
    return {operator: drawn(operator, args) for operator, args in calls.found.items()}


def drawn(operator: str, args: tuple[Any, ...], seed: int = 2) -> tuple[Any, ...]:
    """Gradients of results as large as float16 holds well, instead of those of the model."""
    if not operator.endswith("_backward"):
        return args
    given = len(operators.DEFINED[operator.removesuffix("_backward")].results)
    generator = torch.Generator().manual_seed(seed)
    return (*(torch.randn(x.shape, generator=generator) for x in args[:given]), *args[given:])


def over_draws(operator: str, args: tuple[Any, ...], dtype: torch.dtype) -> list[Difference]:
    """`measured`; of gradients of few numbers, whose errors are chance, the mean over draws."""
    first = list(measured(operator, args, dtype))
    if not operator.endswith("_backward") or min(_sizes(operator, args)) >= FEW:
        return first
    others = [
        list(measured(operator, drawn(operator, args, seed), dtype)) for seed in range(3, DRAWS + 2)
    ]
    return [_together(same) for same in zip(first, *others, strict=True)]


def _sizes(operator: str, args: tuple[Any, ...]) -> list[int]:
    fused = operators.DEFINED[operator.removesuffix("_backward")]
    return [args[len(fused.results) + place].numel() for place in fused.varying]


def _together(draws: Sequence[Difference]) -> Difference:
    def root_mean_square(errors: Sequence[float]) -> float:
        return (sum(error**2 for error in errors) / len(errors)) ** 0.5

    return Difference(
        draws[0].result,
        root_mean_square([draw.error for draw in draws]),
        root_mean_square([draw.reference_error for draw in draws]),
        all(draw.repeats for draw in draws),
        all(draw.has_dtype for draw in draws),
    )


def measured(operator: str, args: Sequence[Any], dtype: torch.dtype) -> Iterator[Difference]:
    """The results of an operator, or of its backward, against float64."""
    fused = operators.DEFINED[operator.removesuffix("_backward")]
    rounded = [_cast(x, dtype) for x in args]
    wide = [_cast(x, torch.float64) for x in rounded]
    if operator.endswith("_backward"):
        names = [f"d{fused.operands[place].name}" for place in fused.varying]
        exact, rough = (_gradients(fused, plain, x) for x in (wide, rounded))
        first, second = (_gradients(fused, generated, rounded) for _ in range(2))
        scales = _sizes_of_terms(fused, wide)
    else:
        names = [f"result {place}" for place in range(len(fused.results))]
        exact, rough = (_results(fused, plain, x) for x in (wide, rounded))
        first, second = (_results(fused, generated, rounded) for _ in range(2))
        scales = exact
    for name, want, scale, ours, again, theirs in zip(
        names, exact, scales, first, second, rough, strict=True
    ):
        yield Difference(
            name,
            relative(ours, want, scale),
            relative(theirs, want, scale),
            torch.equal(ours, again),
            ours.dtype == theirs.dtype,
        )


def _cast(x: Any, dtype: torch.dtype) -> Any:
    return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x


def _results(fused: Fused, form: ModuleType, args: Sequence[Any]) -> list[Tensor]:
    count = len(fused.operands)
    return list(form.forward(fused, args[:count], args[count:]))


def _gradients(fused: Fused, form: ModuleType, args: Sequence[Any]) -> list[Tensor]:
    given, count = len(fused.results), len(fused.operands)
    tensors = args[given : given + count]
    return list(form.gradients_of(fused, args[:given], tensors, args[given + count :]))


def _sizes_of_terms(fused: Fused, args: Sequence[Any]) -> list[Tensor]:
    """For each gradient the root of the sum of squares of what it sums up: a sum that cancels has
    an error set by its terms."""
    given, count = len(fused.results), len(fused.operands)
    terms = plain.as_tuple(fused.reference_backward(*args[: given + count], *args[given + count :]))
    like = [args[given + place] for place in fused.varying]
    return [plain.summed(g.square(), x).sqrt() for g, x in zip(terms, like, strict=True)]


if __name__ == "__main__":
    main()
