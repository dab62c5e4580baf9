"""`svg`: a picture laid out by graphviz's `dot`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping

from gabc.draw.picture import Look, Picture

_FONT = 'fontname="Helvetica"'

_LOOKS: Mapping[Look, str] = {
    Look.STREAM: 'shape=box, style="filled,bold", fillcolor="#ffffff"',
    Look.LAYER: 'shape=box, style="filled", fillcolor="#cfe2f3"',
    Look.UNIT: 'shape=box, style="filled,rounded", fillcolor="#d9ead3"',
    Look.OPERATION: 'shape=box, style="filled,rounded", fillcolor="#ffffff"',
    Look.PARAMETER: 'shape=plaintext, fontcolor="#666666"',
    Look.STATE: 'shape=box, style="filled,bold", fillcolor="#fff2cc"',
    Look.Z: 'shape=ellipse, style="filled", fillcolor="#ead1dc"',
}

_SHADES = ("#f7f7f7", "#eeeeee", "#e5e5e5", "#dcdcdc")
"""Frames by how deep they lie."""


class DrawingError(Exception):
    """There is no `dot`, or it failed; the message says what to do."""


def svg(picture: Picture, *, is_wide: bool = False) -> str:
    """The picture as SVG, from top to bottom, or if `is_wide` from left to right.

    Raises:
        DrawingError: graphviz is not installed, or `dot` fails.
    """
    program = shutil.which("dot")
    if program is None:
        raise DrawingError(
            "a picture needs the program `dot`, which is not on the PATH; install the package "
            "`graphviz` (of the system: `apt install graphviz`, `brew install graphviz`)"
        )
    done = subprocess.run(
        [program, "-Tsvg"],
        input=dot_text(picture, is_wide=is_wide),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode != 0:
        reason = " ".join(done.stderr.split())
        raise DrawingError(f"`dot` failed with status {done.returncode}: {reason}")
    return done.stdout


def dot_text(picture: Picture, *, is_wide: bool = False) -> str:
    """The picture in graphviz's language."""
    return "\n".join(_lines(picture, is_wide)) + "\n"


def _lines(picture: Picture, is_wide: bool) -> Iterator[str]:
    yield "digraph {"
    direction = "LR" if is_wide else "TB"
    yield f"  graph [rankdir={direction}, {_FONT}, fontsize=12, nodesep=0.25, ranksep=0.3]"
    yield f"  node [{_FONT}, fontsize=11, margin=0.08, height=0.3]"
    yield '  edge [color="#555555", arrowsize=0.7]'
    yield from _cluster(picture, None, 0)
    for source, target, data in picture.graph.edges(data=True):
        look = ' [style=dashed, constraint=false, color="#b45f06"]' if data["is_feedback"] else ""
        yield f"  n{source} -> n{target}{look}"
    yield "}"


def _cluster(picture: Picture, here: int | None, depth: int) -> Iterator[str]:
    """The nodes and frames directly within a frame, or on the page; empty frames are left out."""
    indent = "  " * (depth + 1)
    for node, data in picture.graph.nodes(data=True):
        if data["cluster"] == here:
            yield f"{indent}n{node} [label={_quoted(data['label'])}, {_LOOKS[data['look']]}]"
    for number, cluster in enumerate(picture.clusters):
        if cluster.parent != here:
            continue
        inside = list(_cluster(picture, number, depth + 1))
        if not inside:
            continue
        yield f"{indent}subgraph cluster_{number} {{"
        shade = _SHADES[min(depth, len(_SHADES) - 1)]
        yield f'{indent}  label={_quoted(cluster.title)}; labeljust=l; style="filled,rounded"'
        yield f'{indent}  color="#999999"; fillcolor="{shade}"'
        yield from inside
        yield f"{indent}}}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
