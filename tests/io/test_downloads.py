"""Folders that image downloaders wrote."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from pathlib import Path

import pytest
from named_files import files
from PIL import Image

from webclean.config import IngestConfig
from webclean.errors import ImagesNotFoundError
from webclean.io.readers.listing import Listing, fingerprint, list_source


def listed(source: Path, **options: object) -> Listing:
    return list_source(IngestConfig(source=str(source), **options))


def ranks(source: Path, **options: object) -> dict[str, object]:
    return {r["source_key"]: r["rank"] for r in listed(source, **options).records.to_pylist()}


def test_icrawler(tmp_path):
    files(tmp_path, "red fox/000001.jpg", "red fox/000003.PNG", "dog/000001.jpg", "dog/000002.gif")
    listing = listed(tmp_path)
    rows = listing.records.to_pylist()
    assert listing.format == "downloads"
    assert [(r["source_key"], r["category"], r["query"], r["rank"], r["rank_source"]) for r in rows] == [
        ("dog/000001.jpg", "dog", "dog", 1, "file_name"),
        ("dog/000002.gif", "dog", "dog", 2, "file_name"),
        ("red fox/000001.jpg", "red fox", "red fox", 1, "file_name"),
        ("red fox/000003.PNG", "red fox", "red fox", 3, "file_name"),
    ]
    assert {r["source"] for r in rows} == {None}  # Google, Bing or Baidu: nothing says which
    assert listing.found.notes == ["ranks: the numbers in the file names, as icrawler writes them"]
    assert listed(tmp_path, format="folder").records["rank"].to_pylist() == [None] * 4


def test_bing_image_downloader(tmp_path):
    files(tmp_path, *(f"cat/Image_{i}.jpg" for i in (1, 2, 10)))
    rows = listed(tmp_path / "cat").records.to_pylist()
    assert [(r["source_key"], r["category"], r["rank"], r["source"]) for r in rows] == [
        ("Image_1.jpg", "cat", 1, "bing"),
        ("Image_10.jpg", "cat", 10, "bing"),
        ("Image_2.jpg", "cat", 2, "bing"),
    ]


def test_fastai_with_url_lists(tmp_path):
    files(tmp_path, "black/00000000.jpg", "black/00000002.png", "grizzly/00000001.jpg")
    (tmp_path / "urls_black.csv").write_text(
        "\nhttp://a.org/x/black-bear.jpeg?w=1\nhttp://b.org/2.jpg\nhttps://c.org/3.png\nhttps://c.org/4"
    )
    (tmp_path / "Grizzly.txt").write_text('"http://g.org/0.jpg"\r\n"http://g.org/1.jpg"\r\n')
    (tmp_path / "cleaned.csv").write_text("name,label\nblack/00000002.png,teddy\n")
    listing = listed(tmp_path)
    rows = listing.records.to_pylist()
    assert [(r["source_key"], r["rank"], r["page_url"], r["extra"]) for r in rows] == [
        ("black/00000000.jpg", 0, "http://a.org/x/black-bear.jpeg?w=1", None),
        ("black/00000002.png", 2, "https://c.org/3.png", '{"cleaned_label": "teddy"}'),
        ("grizzly/00000001.jpg", 1, "http://g.org/1.jpg", None),
    ]
    assert {r["category"] for r in rows} == {
        "black",
        "grizzly",
    }  # as crawled; what was cleaned by hand is kept
    assert listing.found.notes[-1] == "page URLs from the lists beside the images: 3"
    assert listing.found.skipped == {"sidecars": 3}
    before = fingerprint(listing, None)
    (tmp_path / "Grizzly.txt").write_text("http://g.org/0.jpg\nhttp://other.org/1.jpg\n")
    assert fingerprint(listed(tmp_path), None) != before


@pytest.mark.parametrize(
    "text",
    [
        "http://a.org/0.jpg\nhttp://a.org/1.jpg\n",  # shorter than the numbers
        "http://a.org/0.png\nhttp://a.org/1.png\nhttp://a.org/2.png\n",  # other files
        "one\ntwo\nthree\nfour\n",
        "http://[1\nhttp://[2\nhttp://[3\n",
    ],
)
def test_a_list_that_does_not_fit_is_not_used(tmp_path, text):
    files(tmp_path, "cat/00000000.jpg", "cat/00000001.jpg", "cat/00000002.jpg")
    (tmp_path / "cat/urls.txt").write_text(text)
    listing = listed(tmp_path)
    assert listing.records["page_url"].to_pylist() == [None] * 3
    assert "urls.txt does not fit the files of cat, line by line: it is not used" in listing.found.notes


@pytest.mark.parametrize("space", [" ", ""])
@pytest.mark.parametrize("place", ["downloads", ""])
def test_google_images_download(tmp_path, space, place):
    source = tmp_path / "downloads"
    names = [f"{number}.{space}{name}" for number, name in ((1, "fox.jpg"), (2, "a.b.png"), (30, "c.jpg"))]
    files(source, *(f"red fox/{name}" for name in names[:2]), f"dog/{names[0]}", f"dog/{names[1]}")
    logs = tmp_path / "logs" if place == "downloads" else source / "logs"
    logs.mkdir()
    entries = [
        {
            "image_filename": names[1],
            "image_description": "A fox",
            "image_source": "https://page.org/fox",
            "image_link": "https://img.org/a.b.png",
            "image_host": "page.org",
            "image_width": 640,
        },
        {"image_filename": 7},
        "odd",
    ]
    (logs / "red fox.json").write_text(json.dumps(entries))
    (logs / "dog.json").write_text("{torn")
    listing = listed(source)
    rows = {r["source_key"]: r for r in listing.records.to_pylist()}
    assert [rows[f"red fox/{name}"]["rank"] for name in names[:2]] == [1, 2]
    fox = rows[f"red fox/{names[1]}"]
    assert (fox["title"], fox["page_url"], fox["source"]) == ("A fox", "https://page.org/fox", "google")
    assert json.loads(fox["extra"]) == {"image_host": "page.org", "image_link": "https://img.org/a.b.png"}
    assert rows[f"red fox/{names[0]}"]["title"] is None
    assert any(note.endswith("dog.json is not JSON: it is not used") for note in listing.found.notes)


def test_a_few_other_files_have_no_rank(tmp_path):
    files(tmp_path, *(f"cat/{i:06d}.jpg" for i in range(1, 12)), "cat/cover.jpg")
    found = ranks(tmp_path)
    assert (found["cat/cover.jpg"], found["cat/000011.jpg"]) == (None, 11)
    files(tmp_path, "dog/rex.jpg")  # 12 of 13 files lie in a folder that follows
    assert ranks(tmp_path)["dog/rex.jpg"] is None


@pytest.mark.parametrize(
    "names",
    [
        ["cat/0001.jpg", "cat/0002.jpg", "cat/0003.jpg"],  # nobody's pattern
        ["cat/000001.jpg", "cat/000002.jpg"],  # too few to tell
        ["cat/000001.jpg", "cat/000002.jpg", "cat/rex.jpg", "cat/max.jpg"],
        ["cat/019283.jpg", "cat/019284.jpg", "cat/019285.jpg"],  # ids of a collection, not ranks
        ["cat/000001.jpg", "cat/000002.jpg", "dog/Image_1.jpg", "dog/Image_2.jpg"],
        ["a/2019.05.12 sea.jpg", "a/2019.05.13 sea.jpg", "a/2020.01.01 sea.jpg"],
        ["a/1.jpg", "a/2.jpg", "a/3.jpg"],
    ],
)
def test_other_trees_stay_trees(tmp_path, names):
    files(tmp_path, *names)
    assert listed(tmp_path).format == "folder"
    with pytest.raises(ImagesNotFoundError, match="is not of the format downloads"):
        listed(tmp_path, format="downloads")


def test_lists_that_are_no_text_are_left(tmp_path):
    files(tmp_path, "cat/00000000.jpg", "cat/00000001.jpg", "cat/00000002.jpg")
    (tmp_path / "cat.csv").write_bytes(b"\xff\xfe\0\0")
    (tmp_path / "cleaned.csv").write_bytes(b"name,label\n\xff,\n,x\n" + b'"' + b"x" * 200_000)
    (tmp_path / "cat.txt").mkdir()
    assert list(ranks(tmp_path).values()) == [0, 1, 2]


@pytest.mark.slow
def test_what_icrawler_writes_is_read(tmp_path):
    builtin = pytest.importorskip("icrawler.builtin", reason="pip install icrawler")
    files(tmp_path / "www", *(f"{letter}.jpg" for letter in "acd"))  # b.jpg is not found
    for path in (tmp_path / "www").iterdir():
        Image.new("RGB", (40, 40), tuple(path.name.encode()[:3])).save(path)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        urls = [f"http://127.0.0.1:{server.server_port}/{letter}.jpg\n" for letter in "abcd"]
        (tmp_path / "urls.txt").write_text("".join(urls))
        crawler = builtin.UrlListCrawler(storage={"root_dir": str(tmp_path / "crawl/cat")})
        crawler.crawl(str(tmp_path / "urls.txt"))
        server.shutdown()
    rows = listed(tmp_path / "crawl").records.to_pylist()
    assert [(r["category"], r["rank"]) for r in rows] == [("cat", 1), ("cat", 2), ("cat", 3)]
    assert [Path(r["uri"]).read_bytes() for r in rows] == [
        (tmp_path / f"www/{letter}.jpg").read_bytes() for letter in "acd"
    ]
