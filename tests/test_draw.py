"""`gabc show --graph` and `--graph-tree`: what the pictures have in them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import networkx as nx
import pytest

import gabc
from gabc.cli.main import main
from gabc.draw.data_flow import MOST_BLOCKS, data_flow
from gabc.draw.picture import Look, Picture
from gabc.draw.svg import dot_text
from gabc.draw.unit_tree import unit_tree
from gabc.graph.instance import Stack
from gabc.runtime.inspect import inspect

EXAMPLES = Path(__file__).parent.parent / "examples"
GPT2 = EXAMPLES / "gpt2.gab"
SEEDS = ("gpt2", "mamba2", "retnet", "rwkv6", "ttt")

LAYERED = """gab Layered

unit Layered() {
    dim H = layer + 1
    up = Linear(D, H)
    down = Linear(H, D)

    forward(X) {
        return X + down(up(X))
    }
}
"""

STEPS = """gab Steps

unit Steps() {
    reads  seen: [B, L, D]?
    writes seen: [B, L, D]

    forward(X) {
        unused = relu(X)
        before = Z.seen ?? X
        y = scan(X) {
            state S: [B, D] = 0.0
            S = 0.5 * S + X
            return S
        }
        Z.seen = y
        return X + y + before
    }
}
"""


def stack_of(text: str, scale: str = "14M") -> Stack:
    return gabc.check(text, scales=[scale]).stacks[scale]


def labels(picture: Picture, look: Look) -> list[str]:
    return [d["label"] for _, d in picture.graph.nodes(data=True) if d["look"] == look]


def flows(picture: Picture) -> nx.DiGraph[int]:
    """The graph without what a loop feeds back."""
    forward = nx.DiGraph(picture.graph)
    for source, target, data in picture.graph.edges(data=True):
        if data["is_feedback"]:
            forward.remove_edge(source, target)
    return forward


@pytest.mark.parametrize("name", SEEDS)
@pytest.mark.parametrize("depth", [0, 1, 9])
def test_every_part_of_a_drawing_lies_on_the_way(name: str, depth: int) -> None:
    stack = stack_of((EXAMPLES / f"{name}.gab").read_text("utf-8"))
    picture = data_flow(stack, depth)
    forward = flows(picture)
    assert nx.is_directed_acyclic_graph(forward)
    (logits,) = [
        n for n, d in picture.graph.nodes(data=True) if d["label"].startswith("norm, head")
    ]
    assert nx.ancestors(picture.graph, logits) == set(picture.graph) - {logits}
    assert len(labels(picture, Look.STREAM)) == 2


def test_closed_and_open_units() -> None:
    stack = stack_of(GPT2.read_text("utf-8"))
    closed = data_flow(stack, 0)
    assert [cluster.title for cluster in closed.clusters] == ["GPT2 × 6"]
    assert len(labels(closed, Look.UNIT)) == 4
    half = data_flow(stack, 1)
    assert [cluster.title for cluster in half.clusters] == [
        *("GPT2 × 6", "attn: MultiHeadAttention", "mlp: GatedMLP")
    ]
    assert len(labels(half, Look.LAYER)) == 7
    assert len(labels(half, Look.UNIT)) == 4  # the norms, and RoPE of queries and of keys
    deep = data_flow(stack, 2)
    assert [cluster.title for cluster in deep.clusters].count("rope: RoPE") == 2


def test_states_z_and_what_is_never_used() -> None:
    picture = data_flow(stack_of(STEPS))
    assert labels(picture, Look.STATE) == ["state S\n[B, D]"]
    assert not [label for label in labels(picture, Look.OPERATION) if "relu" in label]
    assert [label.split("\n")[0] for label in labels(picture, Look.Z)] == ["Z.seen", "Z.seen"]
    feedback = [(s, t) for s, t, d in picture.graph.edges(data=True) if d["is_feedback"]]
    assert len(feedback) == 1
    text = dot_text(picture)
    assert "style=dashed" in text
    assert text.count("subgraph") == 2


def test_blocks_that_all_differ_are_not_all_drawn() -> None:
    picture = data_flow(stack_of(LAYERED, "64x7"))
    assert len(picture.clusters) == MOST_BLOCKS
    assert labels(picture, Look.UNIT) == ["3 more distinct blocks"]


def test_unit_tree_has_every_unit() -> None:
    summary = inspect(stack_of(GPT2.read_text("utf-8")), 32_000)
    picture = unit_tree(summary)
    assert nx.is_arborescence(picture.graph)
    assert picture.graph.number_of_nodes() == 17
    assert "head: Linear\ntied to=embedding" in labels(picture, Look.LAYER)


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
def test_pictures_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow, tree = tmp_path / "flow.svg", tmp_path / "tree.svg"
    arguments = ["--graph", str(flow), "--graph-tree", str(tree)]
    assert main(["show", str(GPT2), *arguments]) == 0
    assert capsys.readouterr().out == f"wrote {flow}\nwrote {tree}\n"
    for path, text in ((flow, "attn: MultiHeadAttention"), (tree, "5,378,688 parameters")):
        root = ElementTree.parse(path).getroot()
        assert root.tag.endswith("svg")
        assert text in [element.text for element in root.iter() if element.tag.endswith("text")]


@pytest.mark.parametrize("option", ["--graph", "--graph-tree"])
def test_a_picture_without_graphviz(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["show", str(GPT2), option, str(tmp_path / "x.svg")]) == 2
    err = capsys.readouterr().err
    assert "install the package `graphviz`" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "x.svg").exists()


def test_graphviz_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "dot"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('out of\\nlayout')\n", "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["show", str(GPT2), "--graph", str(tmp_path / "x.svg")]) == 2
    assert "`dot` failed with status 1: out of layout" in capsys.readouterr().err


def test_pictures_are_svg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(GPT2), "--graph", str(tmp_path / "x.png")]) == 2
    assert "name a file that ends in .svg" in capsys.readouterr().err


def test_labels_may_have_quotes_and_backslashes() -> None:
    picture = Picture()
    picture.add('a "b" \\ c\nd', Look.OPERATION)
    assert r'label="a \"b\" \\ c\nd"' in dot_text(picture)
