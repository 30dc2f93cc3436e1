from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webclean.ops.keywords import MAX_KEYWORDS, ImageText, keywords, word_forms

COMPOUNDS = frozenset({"polar bear", "ice hockey", "table tennis"})


def test_every_field_speaks_and_order_is_of_first_appearance() -> None:
    text = ImageText(
        title="Polar bears on the ice!",
        description="A mother & her cub &amp; snow",
        tags=["Arctic", "snow"],
        alt_text="Two bears",
        page_url="https://www.wildlife-zoo.co.uk/galerie/Eisb%C3%A4r-42.html?utm_source=x",
        file_name="IMG_1234.JPG",
    )
    assert keywords(text, frozenset(), COMPOUNDS) == (
        "polar bears", "ice", "two", "bears", "arctic", "snow", "mother", "cub", "wildlife", "zoo", "galerie", "eisbär",
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "IMG_1234.JPG", "DSC00042.jpg", "dscf-0001.png", "94f7421c0fee.jpg", "7163e6_9969fc06b60041889085fb9bc12.jpg",
        "photo-300x200.webp", "1200px.png", "w1200_h678.jpg", "20190323_134027.jpg", "index.php", "L784051403IMG.jpg",
        "DwNkpwmUYAAPjIH.jpg", "thumb.large.gif", "XoCNBr.png", "",
    ],
)  # fmt: skip
def test_what_cameras_and_servers_add_is_no_text(name: str) -> None:
    assert keywords(ImageText(file_name=name)) == ()


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Größe über Wälder", ("größe", "über", "wälder")),
        ("Белый медведь", ("белый", "медведь")),
        ("دب قطبي", ("دب", "قطبي")),
        ("ﬁne Ｆｕｌｌ", ("fine",)),  # compatibility forms are one spelling; `full` stays a word
        ("iceHockeyMatch", ("hockey", "match")),
        ("Messi's boots", ("messi", "boots")),
        ("iphone7 case", ("iphone7", "case")),
    ],
)
def test_any_script_and_spelling(title: str, expected: tuple[str, ...]) -> None:
    assert set(expected) <= set(keywords(ImageText(title=title)))


def test_the_words_of_the_query_are_left_out() -> None:
    own = word_forms(["table tennis", "Tennis"])
    assert keywords(ImageText(title="Table Tennis ball, tennis balls"), own, COMPOUNDS) == ("ball", "balls")
    assert keywords(ImageText(title="table-tennis.jpg", file_name="tabletennis.png"), own) == ()
    assert keywords(ImageText(title="cities"), word_forms(["city"])) == ()
    assert keywords(ImageText(title="city"), word_forms(["cities"])) == ()
    assert keywords(ImageText(title="formula1 race"), word_forms(["formula1"])) == ("race",)


def test_a_compound_that_holds_a_query_word_gives_the_rest() -> None:
    assert keywords(ImageText(title="ice hockey"), word_forms(["hockey"]), COMPOUNDS) == ("ice",)


def test_scripts_without_spaces_lose_the_query_inside_a_run() -> None:
    assert keywords(ImageText(title="可爱的猫咪"), word_forms(["猫"])) == ("可爱的", "咪")


def test_no_fields_no_keywords() -> None:
    assert keywords(ImageText()) == ()
    assert keywords(ImageText(page_url="http://[broken")) == ()
    assert keywords(ImageText(title="  &nbsp; 123 -- ", tags=["", "…"])) == ()


def test_a_stuffed_description_is_cut() -> None:
    many = " ".join(
        "abcdefghij"[i % 10] * 2 + "aeiou"[i % 5] + "klmnp"[i // 50 % 5] + "rs"[i % 2] for i in range(5000)
    )
    assert len(keywords(ImageText(description=many))) <= MAX_KEYWORDS


@given(st.text(), st.text(), st.lists(st.text(), max_size=3), st.text())
def test_any_text_gives_distinct_clean_words_without_the_query(
    title: str, url: str, tags: list[str], query: str
) -> None:
    own = word_forms([query])
    text = ImageText(title=title, tags=tags, page_url=url, file_name=url)
    found = keywords(text, own, COMPOUNDS)
    assert len(set(found)) == len(found)
    assert all(word and word == word.strip() and word not in own for word in found)
    assert keywords(text, own, COMPOUNDS) == found
