"""Broken graphs are found, whole ones pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from designs import stack_of
from small_designs import DESIGNS

from gabc.graph.instance import Instance
from gabc.graph.nodes import ChildRef, Graph, Node, Value
from gabc.graph.types import ONE, TensorType
from gabc.ops.verify import BrokenGraph, verify


def block(name: str) -> tuple[Graph, Instance]:
    instance = stack_of(DESIGNS[name]).blocks[0]
    assert instance.graph is not None
    return instance.graph, instance


def operation(graph: Graph, op: str) -> Node:
    return next(node for node in graph.nodes if node.op == op)


def exchanged(graph: Graph, old: Node, new: Node) -> Graph:
    return replace(graph, nodes=tuple(new if node is old else node for node in graph.nodes))


def out_of_order(graph: Graph) -> Graph:
    return replace(graph, nodes=graph.nodes[::-1])


def defined_twice(graph: Graph) -> Graph:
    return replace(graph, nodes=(*graph.nodes, graph.nodes[-1]))


def lost_result(graph: Graph) -> Graph:
    return replace(graph, nodes=graph.nodes[:-1])


def unknown_child(graph: Graph) -> Graph:
    call = operation(graph, "call")
    return exchanged(graph, call, replace(call, args={**call.args, "child": ChildRef("nobody")}))


def wrong_rank(graph: Graph) -> Graph:
    call = operation(graph, "call")
    extra = Value(TensorType("float", ()), call.span)
    return exchanged(graph, call, replace(call, outputs=(*call.outputs, extra)))


def escaped_from_scan(graph: Graph) -> Graph:
    scan = operation(graph, "scan")
    assert scan.region is not None
    return replace(graph, results=(scan.region.results[0],))


def wrong_step(graph: Graph) -> Graph:
    scan = operation(graph, "scan")
    assert scan.region is not None
    region = replace(scan.region, inputs=tuple(reversed(scan.region.inputs[:2])))
    return exchanged(graph, scan, replace(scan, region=region))


def wrong_state(graph: Graph) -> Graph:
    scan = operation(graph, "scan")
    assert scan.region is not None
    first, *others = scan.region.carried
    carried = (replace(first, next=scan.region.inputs[0]), *others)
    return exchanged(graph, scan, replace(scan, region=replace(scan.region, carried=carried)))


def wrong_kind(graph: Graph) -> Graph:
    node = operation(graph, "rearrange")
    value = Value(node.output.type.with_kind("int"), node.span)
    return replace(graph, nodes=(*graph.nodes, replace(node, outputs=(value,))))


def wrong_size(graph: Graph) -> Graph:
    node = operation(graph, "rearrange")
    *dims, last = node.output.type.dims
    value = Value(node.output.type.with_dims((*dims, last + ONE)), node.span)
    return replace(graph, nodes=(*graph.nodes, replace(node, outputs=(value,))))


def unknown_parameter(graph: Graph) -> Graph:
    param = operation(graph, "param")
    return exchanged(graph, param, replace(param, args={"name": "nothing"}))


CASES: list[tuple[str, Callable[[Graph], Graph], str]] = [
    ("residual", out_of_order, "not yet defined"),
    ("residual", defined_twice, "defined twice"),
    ("residual", lost_result, "not yet defined"),
    ("residual", unknown_child, "no child nobody"),
    ("residual", wrong_rank, "2 results for 1"),
    ("scan", escaped_from_scan, "out of scope"),
    ("scan", wrong_step, "hands 4 values to 2 names"),
    ("scan", wrong_state, "carries"),
    ("scan", wrong_kind, "`rearrange` at .* gives .*, not int"),
    ("scan", wrong_size, r"gives \[B, L, H, K\], not \[B, L, H, K \+ 1\]"),
    ("scan", unknown_parameter, "no parameter 'nothing'"),
]


@pytest.mark.parametrize(("name", "breaking", "message"), CASES)
def test_broken_graph(name: str, breaking: Callable[[Graph], Graph], message: str) -> None:
    graph, instance = block(name)
    with pytest.raises(BrokenGraph, match=message):
        verify(breaking(graph), instance)


@pytest.mark.parametrize("name", DESIGNS)
def test_whole_graph(name: str) -> None:
    graph, instance = block(name)
    verify(graph, instance)
    verify(graph, None)
