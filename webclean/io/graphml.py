"""Weighted graphs as GraphML, which Gephi, Cytoscape, yEd and networkx read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from xml.sax.saxutils import escape, quoteattr

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TYPES: Final = {str: "string", int: "int", float: "double"}
Values = Mapping[str, str | int | float | None]


def graphml(
    node_types: Mapping[str, type],
    nodes: Iterable[tuple[str, Values]],
    edge_types: Mapping[str, type],
    edges: Iterable[tuple[str, str, Values]],
) -> Iterator[str]:
    """The lines of an undirected graph; what is None is left out, and so are characters that XML cannot hold.

    Args:
        node_types: name -> str, int or float of each attribute of a node.
        nodes: id and attributes of each.
        edge_types: likewise of an edge.
        edges: the ids of two nodes and attributes of each.
    """
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
    for kind, types in (("node", node_types), ("edge", edge_types)):
        for name, type_ in types.items():
            # Keys must differ in the whole file: a node and an edge may have attributes of one name.
            yield (
                f'  <key id="{kind[0]}_{name}" for="{kind}" attr.name={quoteattr(name)}'
                f' attr.type="{_TYPES[type_]}"/>'
            )
    yield '  <graph edgedefault="undirected">'
    for node, values in nodes:
        yield f"    <node id={_attribute(node)}>{_data('n', values)}</node>"
    for source, target, values in edges:
        yield (
            f"    <edge source={_attribute(source)} target={_attribute(target)}>{_data('e', values)}</edge>"
        )
    yield "  </graph>"
    yield "</graphml>"


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("", text))


def _data(kind: str, values: Values) -> str:
    return "".join(
        f'<data key="{kind}_{name}">{escape(_NOT_XML.sub("", str(value)))}</data>'
        for name, value in values.items()
        if value is not None
    )
