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
        "polar bear", "ice", "two", "bears", "arctic", "snow", "mother", "cub", "wildlife", "zoo", "galerie", "eisbär",
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "IMG_1234.JPG", "DSC00042.jpg", "dscf-0001.png", "94f7421c0fee.jpg", "7163e6_9969fc06b60041889085fb9bc12.jpg",
        "photo-300x200.webp", "1200px.png", "w1200_h678.jpg", "20190323_134027.jpg", "index.php", "L784051403IMG.jpg",
        "DwNkpwmUYAAPjIH.jpg", "thumb.large.gif", "XoCNBr.png", "", "photo 12 of 30.jpg", "SAM_0123.JPG", "P1010023.jpg",
        "550e8400-e29b-41d4-a716-446655440000.png", "a716.jpg", "WhatsApp Image 2020-01-01 at 10.20.30.jpeg",
        "shutterstock_1234567.jpg", "照片.jpg", "фото-12.jpg",
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


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Lion cub - stock photo | Shutterstock", ("lion", "cub")),
        ("royalty-free high resolution lion", ("lion",)),
        ("stock car in stock", ("stock", "car")),  # alone the word may be the subject
        ("lion http://a.org/b/wheel.jpg gettyimages.com me@post.net www.cats.de/x", ("lion",)),
        ("lion.jpg", ("lion",)),
        ("photo 12 of 30: lion", ("lion",)),
    ],
)
def test_addresses_and_the_words_of_picture_shops_are_no_text(title: str, expected: tuple[str, ...]) -> None:
    assert keywords(ImageText(title=title)) == expected
    assert keywords(ImageText(description=title)) == expected


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("北极熊的照片", ("北极", "极熊")),
        ("白熊の写真 シロクマかわいい", ("白熊", "シロクマ", "かわいい")),
        ("ध्रुवीय भालू", ("ध्रुवीय", "भालू")),  # vowel signs belong to their word
        ("หมีขั้วโลก", ("หมีขั้", "มีขั้ว", "ขั้วโ", "วโล", "โลก")),
        ("북극곰 사진", ("북극곰",)),
        ("می‌خواهم", ("می‌خواهم",)),  # a joiner inside a word
        ("dog手机 iPhone", ("dog", "手机", "phone")),
    ],
)
def test_scripts_without_spaces_are_cut_into_pieces(title: str, expected: tuple[str, ...]) -> None:
    assert keywords(ImageText(title=title)) == expected


def test_compounds_are_in_the_singular_hold_common_words_and_end_at_commas() -> None:
    known = frozenset({"polar bear", "lily of the valley", "ice hockey"})
    assert keywords(ImageText(title="Polar-bears, ice"), compounds=known) == ("polar bear", "ice")
    assert keywords(ImageText(title="a lily of the valley"), compounds=known) == ("lily of the valley",)
    assert keywords(ImageText(title="ice, hockey"), compounds=known) == ("ice", "hockey")


def test_accents_do_not_hide_the_query() -> None:
    assert keywords(ImageText(title="Café crème"), word_forms(["cafe"])) == ("crème",)
    assert keywords(ImageText(title="cafes creme"), word_forms(["Café"])) == ("creme",)


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
    assert keywords(ImageText(title="可爱的猫咪"), word_forms(["猫"])) == ("可爱", "咪")


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
