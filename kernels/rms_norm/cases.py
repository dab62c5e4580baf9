"""What the two implementations of RMSNorm are compared on."""

from __future__ import annotations

from ..cases import Case
from ..norm_cases import Norm
from ..norm_cases import cases as cases_of


def cases() -> tuple[Case, ...]:
    return cases_of(Norm(("weight",), is_centred=False))
