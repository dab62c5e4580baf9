"""What is known of a design from its text.

`gabc.check` is both this package and the function `gabc.check(source)`: importing any module of the
package binds the name to the package, so the package itself can be called.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gabc.check.report import Report
    from gabc.graph.instance import Scale
    from gabc.syntax.source import Source


class _CallablePackage(ModuleType):
    def __call__(
        self,
        source: Source | str,
        *,
        scales: Sequence[Scale | str] = (),
        folder: Path | None = None,
    ) -> Report:
        """See `gabc.api.check`."""
        from gabc.api import check

        return check(source, scales=scales, folder=folder)


sys.modules[__name__].__class__ = _CallablePackage
