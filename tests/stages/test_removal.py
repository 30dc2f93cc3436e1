"""`--exclude`: what a list names by key, URL, id or digest is left out, and the list's lines are accounted for."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exported_run import Row, picture, write_run

from webclean import schema
from webclean.cli.app import main
from webclean.errors import ArtifactInvalidError, ArtifactMissingError, ColumnMissingError
from webclean.io import exclusions, tables
from webclean.io.run_dir import RunDir


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    """Six images with pages and URLs; 4 is a copy of 1 under another name, 5.jpg is listed twice."""
    folder = tmp_path / "crawl"
    folder.mkdir()
    lines = ["path,label,page_url,image_link"]
    for i in range(6):
        (folder / f"{i}.jpg").write_bytes(picture(1 if i == 4 else i))
        lines.append(f"{i}.jpg,{'cat' if i % 2 else 'dog'},https://page/{i},https://img/{i}.jpg")
    lines.append("5.jpg,cat,https://page/5b,")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


def ingest(crawl: Path, run: Path, *flags: str) -> dict[str, dict]:
    assert main(["ingest", str(crawl), str(run), "--workers", "0", *flags]) == 0
    rows = tables.read(RunDir(str(run)), schema.IMAGES, schema.IMAGES_TABLE).to_pylist()
    return {row["source_key"]: row for row in rows}


def excluded(rows: dict[str, dict]) -> list[str]:
    return sorted(key for key, row in rows.items() if row["status"] == "excluded")


def digest(number: int) -> str:
    return hashlib.sha256(picture(number)).hexdigest()


def test_a_list_of_all_kinds_of_names(tmp_path, crawl, capsys):
    before = ingest(crawl, tmp_path / "first")
    removals = tmp_path / "removals.txt"
    removals.write_text(
        "# asked for on Monday\n\n./0.jpg\r\nhttps://img/2.jpg\n"
        f"{before['3.jpg']['image_id']}\nnowhere.jpg\nhttps://page/5b\n"
    )
    rows = ingest(crawl, tmp_path / "run", "--exclude", str(removals))
    assert excluded(rows) == ["0.jpg", "2.jpg", "3.jpg", "5.jpg?2"]
    assert rows["0.jpg"]["error"] == "removals.txt, line 3, excludes it"
    assert rows["3.jpg"]["error"] == "removals.txt, line 5, excludes it"
    assert rows["0.jpg"]["sha256"] is None  # not opened
    assert rows["3.jpg"]["image_id"] == before["3.jpg"]["image_id"]  # read to be known by its content ...
    assert rows["3.jpg"]["tiny"] is None
    assert rows["3.jpg"]["phash"] is None
    assert rows["1.jpg"] == before["1.jpg"]
    told = capsys.readouterr().err
    assert "1 of 5 lines of removals.txt name no image of the crawl: nowhere.jpg" in told
    assert "removals.txt excludes 4 images, 3 of them without opening a file" in told
    result = json.loads((tmp_path / "run/images/run.json").read_text())["result"]["exclude"]
    assert (result["named"], result["unmatched"], result["not_opened"], result["by_content"]) == (5, 1, 3, 1)


def test_what_is_named_by_key_is_never_opened(tmp_path, crawl):
    (crawl / "0.jpg").unlink()
    (tmp_path / "list.txt").write_text("0.jpg\n")
    assert (
        ingest(crawl, tmp_path / "run", "--exclude", str(tmp_path / "list.txt"))["0.jpg"]["status"]
        == "excluded"
    )


def test_a_path_that_is_listed_again_goes_with_it(tmp_path, crawl):
    (tmp_path / "list.txt").write_text("5.jpg\n")
    rows = ingest(crawl, tmp_path / "run", "--exclude", str(tmp_path / "list.txt"))
    assert excluded(rows) == ["5.jpg", "5.jpg?2"]


@pytest.mark.parametrize("upper", [False, True])
def test_a_digest_takes_every_copy(tmp_path, crawl, upper):
    (tmp_path / "list.txt").write_text(digest(1).upper() if upper else digest(1))
    rows = ingest(crawl, tmp_path / "run", "--exclude", str(tmp_path / "list.txt"))
    assert excluded(rows) == ["1.jpg", "4.jpg"]


def test_an_image_id_takes_copies_of_its_content(tmp_path, crawl):
    ids = ingest(crawl, tmp_path / "first")
    (tmp_path / "list.txt").write_text(ids["4.jpg"]["image_id"])
    rows = ingest(crawl, tmp_path / "run", "--exclude", str(tmp_path / "list.txt"))
    assert excluded(rows) == ["1.jpg", "4.jpg"]


def test_the_list_is_part_of_the_fingerprint(tmp_path, crawl, capsys):
    removals = tmp_path / "list.txt"
    removals.write_text("0.jpg\n")
    flags = ("--exclude", str(removals))
    ingest(crawl, tmp_path / "run", *flags)
    capsys.readouterr()
    assert main(["ingest", str(crawl), str(tmp_path / "run"), "--workers", "0", "--json", *flags]) == 0
    assert [o["skipped"] for o in json.loads(capsys.readouterr().out)] == [True, True, True]
    removals.write_text("1.jpg\n")
    assert excluded(ingest(crawl, tmp_path / "run", *flags)) == ["1.jpg"]
    assert excluded(ingest(crawl, tmp_path / "run")) == []


def test_a_retry_takes_nothing_over_that_the_list_now_names(tmp_path, crawl):
    (crawl / "0.jpg").unlink()
    ingest(crawl, tmp_path / "run")
    (tmp_path / "list.txt").write_text(f"3.jpg\n{digest(1)}\n")
    rows = ingest(crawl, tmp_path / "run", "--exclude", str(tmp_path / "list.txt"), "--retry-failed")
    assert excluded(rows) == ["1.jpg", "3.jpg", "4.jpg"]


TABLES = {
    "list.csv": "reason,source_key\nasked,0.jpg\n,2.jpg\nagain,0.jpg\n",
    "headless.csv": "0.jpg\n2.jpg\n",
    "list.tsv": "path\tsha256\n0.jpg\t\n2.jpg\t\n",
    "list.jsonl": '{"path": "0.jpg"}\n\n{"url": "https://img/2.jpg", "by": "us"}\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path, crawl, name):
    (tmp_path / name).write_text(TABLES[name])
    rows = ingest(crawl, tmp_path / "run", "--exclude", str(tmp_path / name))
    assert excluded(rows) == ["0.jpg", "2.jpg"]


def test_a_parquet_table_without_its_bytes(tmp_path, crawl):
    pq.write_table(
        pa.table({"image": [b"\xff"], "image_url": ["https://img/2.jpg"]}), tmp_path / "list.parquet"
    )
    rows = ingest(crawl, tmp_path / "run", "--exclude", str(tmp_path / "list.parquet"))
    assert excluded(rows) == ["2.jpg"]


def test_names_that_are_not_utf8(tmp_path):
    folder = tmp_path / "crawl" / "cat"
    folder.mkdir(parents=True)
    for number, name in enumerate((b"\xe4.jpg", b"b.jpg")):
        (folder / name.decode("utf-8", "surrogateescape")).write_bytes(picture(number))
    (tmp_path / "list.txt").write_bytes(b"cat/\xe4.jpg\n")
    assert excluded(
        ingest(tmp_path / "crawl", tmp_path / "run", "--exclude", str(tmp_path / "list.txt"))
    ) == ["cat/%E4.jpg"]


def test_an_empty_list_excludes_nothing(tmp_path, crawl):
    (tmp_path / "list.txt").write_text("# nobody has asked yet\n")
    assert excluded(ingest(crawl, tmp_path / "run", "--exclude", str(tmp_path / "list.txt"))) == []


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("gone.txt", None, ArtifactMissingError, "gone.txt does not exist"),
        ("list.csv", b"reason,who\na,b\n", ColumnMissingError, "no column that names images"),
        ("list.csv", b"path,who\na,b,c\n", ArtifactInvalidError, "line 2: 3 cells under 2 columns"),
        ("list.jsonl", b'{"path": "a"}\n[1]\n', ArtifactInvalidError, "line 2, is not a JSON object"),
        ("list.jsonl", b'{"path": \n', ArtifactInvalidError, "line 1, is not JSON"),
        ("list.parquet", b"PAR1", ArtifactInvalidError, "cannot be read as a table"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_read_says_so(tmp_path, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        exclusions.read(str(tmp_path / name))


def test_a_list_that_is_gone_leaves_the_run_as_it_was(tmp_path, crawl, capsys):
    before = ingest(crawl, tmp_path / "run")
    flags = ["--exclude", str(tmp_path / "gone.txt"), "--workers", "0"]
    assert main(["ingest", str(crawl), str(tmp_path / "run"), *flags]) == 3
    assert "gone.txt does not exist" in capsys.readouterr().err
    assert ingest(crawl, tmp_path / "run") == before


def exported(run: Path, out: Path, *flags: str) -> tuple[set[str], dict[str, str]]:
    """Keys that were exported, and the reasons of the others."""
    assert main(["export", str(run), str(out), "--to", "csv", "--workers", "0", *flags]) == 0
    with (out / "images.csv").open() as kept, (out / "dropped.csv").open() as left:
        reasons = {row["source_key"]: row["reason"] for row in csv.DictReader(left)}
        return {row["source_key"] for row in csv.DictReader(kept)}, reasons


def test_export_leaves_out_what_a_list_names_and_its_copies(tmp_path, capsys):
    write_run(
        tmp_path,
        [
            Row("a/1.jpg", "cat", data=picture(1)),
            Row("a/2.jpg", "cat", data=picture(2)),
            Row("b/copy.jpg", "dog", data=picture(1)),
            Row("b/keeper.jpg", "dog", group=1, is_keeper=True, data=picture(3)),
            Row("b/near.jpg", "dog", group=1, data=picture(4)),
            Row("b/gone.jpg", "dog", status="missing", data=None),
        ],
    )
    (tmp_path / "list.txt").write_text("a/1.jpg\nb/keeper.jpg\nb/gone.jpg\nc/nothing.jpg\n")
    kept, left = exported(tmp_path / "run", tmp_path / "out", "--exclude", str(tmp_path / "list.txt"))
    assert kept == {"a/2.jpg", "b/near.jpg"}  # the next best stands for the group
    assert left == {
        "a/1.jpg": "policy:excluded",
        "b/copy.jpg": "policy:excluded",
        "b/keeper.jpg": "policy:excluded",
        "b/gone.jpg": "bad_file:missing",
    }
    told = capsys.readouterr().err
    assert "list.txt excludes 4 images, copies of equal bytes among them" in told
    assert "1 of 4 lines of list.txt name no image of the crawl: c/nothing.jpg" in told
    policy = json.loads((tmp_path / "out/manifest.json").read_text())["policy"]
    assert (policy["exclude"]["list"], policy["exclude"]["images"]) == ("list.txt", 4)
    assert main(["verify", str(tmp_path / "out")]) == 0


def test_no_policy_gives_back_what_has_to_go(tmp_path):
    write_run(tmp_path, [Row("a/1.jpg", "cat", 0.2), Row("a/2.jpg", "cat", 0.3), Row("a/3.jpg", "cat", 0.1)])
    (tmp_path / "list.txt").write_text("a/2.jpg\n")
    flags = ("--exclude", str(tmp_path / "list.txt"), "--min-per-category", "3")
    kept, left = exported(tmp_path / "run", tmp_path / "out", *flags)
    assert kept == {"a/1.jpg", "a/3.jpg"}
    assert left == {"a/2.jpg": "policy:excluded"}
