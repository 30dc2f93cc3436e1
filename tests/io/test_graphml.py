from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from webclean.io.graphml import graphml

SPACE = "{http://graphml.graphdrawing.org/xmlns}"


def test_nodes_edges_and_their_attributes() -> None:
    nodes = [("c0", {"name": "cat", "synset": None}), ("c1", {"name": "dog", "synset": "dog.n.01"})]
    edges = [("c0", "c1", {"weight": 0.25})]
    root = ElementTree.fromstring(
        "\n".join(graphml({"name": str, "synset": str}, nodes, {"weight": float}, edges))
    )
    keys = {
        key.get("id"): (key.get("for"), key.get("attr.name"), key.get("attr.type"))
        for key in root.iter(f"{SPACE}key")
    }
    assert keys == {
        "n_name": ("node", "name", "string"), "n_synset": ("node", "synset", "string"), "e_weight": ("edge", "weight", "double"),
    }  # fmt: skip
    graph = root.find(f"{SPACE}graph")
    assert graph is not None
    assert graph.get("edgedefault") == "undirected"
    found = {n.get("id"): {d.get("key"): d.text for d in n} for n in graph.iter(f"{SPACE}node")}
    assert found == {"c0": {"n_name": "cat"}, "c1": {"n_name": "dog", "n_synset": "dog.n.01"}}
    (edge,) = graph.iter(f"{SPACE}edge")
    assert (edge.get("source"), edge.get("target"), edge[0].text) == ("c0", "c1", "0.25")


@given(st.text())
def test_any_name_gives_xml_that_can_be_read(name: str) -> None:
    root = ElementTree.fromstring("\n".join(graphml({"name": str}, [("c0", {"name": f"<{name}>"})], {}, [])))
    text = next(root.iter(f"{SPACE}data")).text
    assert text is not None
    assert text.startswith("<")
    assert text.endswith(">")
    if name.isalnum():
        assert text == f"<{name}>"
