"""Positive rationals as products of prime powers."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

# Numerals of real designs stay far below its square.
_LARGEST_TRIAL = 10_000


@lru_cache(maxsize=4096)
def _factorise(number: int) -> tuple[tuple[int, int], ...]:
    factors = []
    divisor = 2
    while divisor * divisor <= number and divisor <= _LARGEST_TRIAL:
        exponent = 0
        while number % divisor == 0:
            number //= divisor
            exponent += 1
        if exponent:
            factors.append((divisor, exponent))
        divisor += 1 if divisor == 2 else 2
    if number > 1:
        factors.append((number, 1))
    return tuple(factors)


def prime_exponents(value: Fraction) -> dict[int, int]:
    """The exponents of a positive rational, e.g. 4/3 -> {2: 2, 3: -1}.

    Factors above 10**8 are not split. They then count as primes, which can only lose a proof:
    unequal exponents are never taken for a refutation.
    """
    exponents = dict(_factorise(value.numerator))
    for prime, exponent in _factorise(value.denominator):
        exponents[prime] = exponents.get(prime, 0) - exponent
    return exponents
