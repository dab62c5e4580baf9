"""What a picture is made of: a networkx graph whose nodes lie in nested clusters."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import networkx as nx


class Look(StrEnum):
    """What a node is, which decides how it is drawn."""

    STREAM = "stream"
    LAYER = "layer"
    UNIT = "unit"
    OPERATION = "operation"
    PARAMETER = "parameter"
    STATE = "state"
    Z = "z"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A frame with a title. `parent` is the frame around it, `None` on the page itself."""

    title: str
    parent: int | None


@dataclass
class Picture:
    """`graph` has nodes 0, 1, ... with `label`, `look` and `cluster` (a place in `clusters`).

    An edge with `is_feedback` leads from one step of a loop to the next, against the flow.
    """

    graph: nx.DiGraph[int] = field(default_factory=nx.DiGraph)
    clusters: list[Cluster] = field(default_factory=list)

    def frame(self, title: str, parent: int | None = None) -> int:
        """A new cluster."""
        self.clusters.append(Cluster(title, parent))
        return len(self.clusters) - 1

    def add(self, label: str, look: Look, cluster: int | None = None) -> int:
        """A new node; lines of the label are separated by newlines."""
        place = self.graph.number_of_nodes()
        self.graph.add_node(place, label=label, look=look, cluster=cluster)
        return place

    def join(self, source: int, target: int, is_feedback: bool = False) -> None:
        """An edge; two edges between the same nodes are one."""
        if not self.graph.has_edge(source, target):
            self.graph.add_edge(source, target, is_feedback=is_feedback)
