"""Facts against z3 on random instances, an independent decision procedure."""

from __future__ import annotations

import random

import pytest

from gabc.dims import ContradictionError, Dim, Facts

z3 = pytest.importorskip("z3")

NAMES = "abcdef"
TIMEOUT_MS = 25

Pairs = list[tuple[Dim, Dim]]


def random_product(rng: random.Random, most: int) -> Dim:
    dim = Dim.const(rng.choice((1, 1, 1, 2, 3)))
    for name in rng.sample(NAMES, rng.randint(1, most)):
        dim = dim * Dim.symbol(name)
    return dim


def random_sum(rng: random.Random) -> Dim:
    return random_product(rng, 2) + rng.choice((Dim.const(1), random_product(rng, 1)))


class Instance:
    """Random facts for both `Facts` and z3; `contradictory` if `Facts` refuses them."""

    def __init__(self, rng: random.Random, additive: bool, divisions: bool) -> None:
        self.facts = Facts()
        self.equations: Pairs = []
        self.divisions: Pairs = []
        self.contradictory = False
        for _ in range(rng.randint(1, 3)):
            if divisions and rng.random() < 0.4:
                self.divisions.append((random_product(rng, 1), random_product(rng, 2)))
                continue
            right = random_sum(rng) if additive and rng.random() < 0.5 else random_product(rng, 2)
            self.equations.append((random_product(rng, 2), right))
        try:
            for a, b in self.equations:
                self.facts.assume_equal(a, b)
            for d, n in self.divisions:
                self.facts.assume_divides(d, n)
        except ContradictionError:
            self.contradictory = True

    def question(self, rng: random.Random) -> tuple[Dim, Dim]:
        """Half of the questions are built to follow from the facts, with the work hidden."""
        factor = random_product(rng, 2)
        if self.equations and rng.random() < 0.5:
            (a, b), (c, d) = rng.choice(self.equations), rng.choice(self.equations)
            return rng.choice([(a * factor, b * factor), (a * d, b * c), (a * c, b * d)])
        return random_product(rng, 3), random_product(rng, 3)

    def check(self, sizes: dict[str, int]) -> None:
        """Every fact that shares a symbol with the sizes is determined by them, and holds."""
        assert all(isinstance(size, int) and size >= 1 for size in sizes.values())
        for a, b in self.equations + self.divisions:
            symbols = a.symbols() | b.symbols()
            assert symbols <= sizes.keys() or symbols.isdisjoint(sizes)
        for a, b in self.equations:
            if a.symbols() <= sizes.keys():
                assert a.evaluate(sizes) == b.evaluate(sizes)
        for d, n in self.divisions:
            if d.symbols() <= sizes.keys():
                assert (n.evaluate(sizes) / d.evaluate(sizes)).denominator == 1

    def z3_answer(self, claim: object, variables: dict[str, object], least: int) -> str:
        """`unsat` if the claim cannot be false."""
        solver = z3.Solver()
        solver.set("timeout", TIMEOUT_MS)
        for variable in variables.values():
            solver.add(variable >= least if least else variable > 0)  # type: ignore[operator]
        for a, b in self.equations:
            solver.add(as_z3(a, variables) == as_z3(b, variables))
        for i, (d, n) in enumerate(self.divisions):
            solver.add(as_z3(d, variables) * z3.Int(f"q{i}") == as_z3(n, variables))
        solver.add(z3.Not(claim))
        return str(solver.check())


def as_z3(dim: Dim, variables: dict[str, object]) -> object:
    """A polynomial dim with integer coefficients as a z3 term."""
    total: object = 0
    for factors, coefficient in dim.terms:
        assert coefficient.denominator == 1
        term: object = int(coefficient)
        for atom, exponent in factors:
            assert isinstance(atom, str)
            assert exponent > 0
            for _ in range(exponent):
                term = term * variables[atom]  # type: ignore[operator]
        total = total + term  # type: ignore[operator]
    return total


def test_products_are_decided() -> None:
    """For product facts over positive numbers, proved exactly when z3 says entailed."""
    variables = {name: z3.Real(name) for name in NAMES}
    rng = random.Random(0)
    answers = {"sat": 0, "unsat": 0, "unknown": 0}
    for _ in range(200):
        instance = Instance(rng, additive=False, divisions=False)
        if instance.contradictory:
            continue
        a, b = instance.question(rng)
        answer = instance.z3_answer(as_z3(a, variables) == as_z3(b, variables), variables, least=0)
        answers[answer] += 1
        if answer != "unknown":
            assert instance.facts.equal(a, b).proved == (answer == "unsat"), (a, b)
    assert answers["sat"] > 60
    assert answers["unsat"] > 60


@pytest.mark.parametrize("additive", [False, True])
def test_equal_is_sound(additive: bool) -> None:
    """With sums and divisions: no proof that z3 refutes over the integers >= 1, no refutation that
    does not check, and few questions left open that z3 decides."""
    variables = {name: z3.Int(name) for name in NAMES}
    rng = random.Random(1)
    counts = {"proved": 0, "refuted": 0, "open": 0, "missed": 0}
    for _ in range(110):
        instance = Instance(rng, additive, divisions=True)
        if instance.contradictory:
            continue
        a, b = instance.question(rng)
        verdict = instance.facts.equal(a, b)
        counts[verdict.status.value] += 1
        if verdict.counterexample is not None:
            sizes = dict(verdict.counterexample)
            instance.check(sizes)
            assert a.evaluate(sizes) != b.evaluate(sizes)
            continue
        answer = instance.z3_answer(as_z3(a, variables) == as_z3(b, variables), variables, least=1)
        if verdict.proved:
            assert answer != "sat", (a, b)
        elif answer != "unknown":
            counts["missed"] += 1
    assert counts["proved"] > 25
    assert counts["refuted"] > 25
    assert counts["missed"] < 10, counts


def test_divides_is_sound() -> None:
    variables = {name: z3.Int(name) for name in NAMES}
    rng = random.Random(2)
    counts = {"proved": 0, "refuted": 0, "open": 0}
    for _ in range(110):
        instance = Instance(rng, additive=False, divisions=True)
        if instance.contradictory:
            continue
        d, n = random_product(rng, 1), random_product(rng, 3)
        if instance.divisions and rng.random() < 0.5:
            d, n = rng.choice(instance.divisions)
            n = n * random_product(rng, 1)
        verdict = instance.facts.divides(d, n)
        counts[verdict.status.value] += 1
        if verdict.counterexample is not None:
            sizes = dict(verdict.counterexample)
            instance.check(sizes)
            assert (n.evaluate(sizes) / d.evaluate(sizes)).denominator != 1
        elif verdict.proved:
            claim = as_z3(n, variables) % as_z3(d, variables) == 0  # type: ignore[operator]
            assert instance.z3_answer(claim, variables, least=1) != "sat", (d, n)
    assert counts["proved"] > 25
    assert counts["refuted"] > 25
    assert counts["open"] < 10, counts


def test_contradictions_are_real() -> None:
    """What `Facts` refuses to assume, z3 cannot satisfy either."""
    variables = {name: z3.Int(name) for name in NAMES}
    rng = random.Random(3)
    refused = 0
    for _ in range(400):
        instance = Instance(rng, additive=True, divisions=True)
        if instance.contradictory:
            refused += 1
            assert instance.z3_answer(z3.BoolVal(False), variables, least=1) != "sat"
    assert refused > 5
