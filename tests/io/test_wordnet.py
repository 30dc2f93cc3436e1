from __future__ import annotations

import itertools
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import nltk
import numpy as np
import pytest
from nltk.corpus.reader.wordnet import WordNetICCorpusReader

from webclean.errors import ConfigError, DependencyMissingError
from webclean.io import wordnet_fetch
from webclean.io.information_content import InformationContent, read_information_content
from webclean.io.wordnet import Senses, WordNet, open_wordnet
from webclean.ops import ancestry

# Parent and child, siblings, cousins, several parents, an instance, unrelated, a root.
SAMPLE = [
    "dog.n.01",
    "canine.n.02",
    "cat.n.01",
    "wolf.n.01",
    "tiger.n.02",
    "oak.n.01",
    "cricket.n.01",
    "cricket.n.02",
    "tennis.n.01",
    "entity.n.01",
    "person.n.01",
    "chef.n.01",
    "fireman.n.01",
    "domestic_animal.n.01",
    "einstein.n.01",
    "truth.n.01",
    "car.n.01",
    "bicycle.n.01",
    "waitress.n.01",
    "physical_entity.n.01",
]


@pytest.fixture(scope="module")
def wordnet() -> WordNet:
    place = wordnet_fetch.find_wordnet()
    if place is None:
        pytest.skip("WordNet is not on this machine: make wordnet")
    return WordNet(place)


@pytest.mark.parametrize("measure", ["path", "lch", "wup"])
def test_similarity_equals_nltk_pair_by_pair(wordnet: WordNet, measure: str) -> None:
    synsets = [wordnet._get(name) for name in SAMPLE]
    if measure == "lch":  # NLTK's own value for the whole taxonomy; slow there, read off the data file here
        wordnet._reader._max_depth["n", False] = 19
        assert wordnet.noun_depth == 19
    found_CC = wordnet.similarity(SAMPLE, measure)
    for i, a in enumerate(synsets):
        for j, b in enumerate(synsets):
            theirs = getattr(a, f"{measure}_similarity")
            expected = theirs(b)
            if measure == "wup":
                expected = 1.0 if i == j else max(expected, b.wup_similarity(a))
            assert found_CC[i, j] == pytest.approx(expected, abs=1e-12), (SAMPLE[i], SAMPLE[j])


@pytest.fixture(scope="module")
def ic_file(wordnet: WordNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An information-content file as NLTK's corpus has them: every twelfth noun mentioned, up to the root."""
    mentions = {noun: float(i % 7 + 1) for i, noun in enumerate(sorted(wordnet._all_parents)) if i % 12 == 0}
    counts: dict[str, float] = {}
    for noun, times in mentions.items():
        for above in ancestry.ancestor_distances(wordnet._all_parents, noun):
            counts[above] = counts.get(above, 0.0) + times
    lines = [
        f"{int(noun)}n {count}" + ("" if wordnet._all_parents[noun] else " ROOT")
        for noun, count in counts.items()
    ]
    file = tmp_path_factory.mktemp("ic") / "ic-test.dat"
    file.write_text("\n".join(["wnver::test", *lines, "42v 3.0 ROOT", ""]))
    return file


def nltk_counts(file: Path) -> dict[str, Any]:
    """The file as NLTK reads it."""
    nltk.data.path.append(str(file.parent))
    try:
        return dict(WordNetICCorpusReader(str(file.parent), [file.name]).ic(file.name))
    finally:
        nltk.data.path.pop()


def near_pairs(wordnet: WordNet, rng: np.random.Generator, num: int) -> list[tuple[str, str]]:
    """Pairs of a noun and itself, its parent, a sibling and a cousin, in turn."""
    nouns, pairs = sorted(wordnet._all_parents), []

    def name(offset: str) -> str:
        return str(wordnet._reader.synset_from_pos_and_offset("n", int(offset)).name())

    while len(pairs) < num:
        own = name(nouns[rng.integers(len(nouns))])
        pairs.append((own, own))
        climbed = wordnet._get(own)
        for _ in range(2):
            above = climbed.hypernyms() + climbed.instance_hypernyms()
            if not above:
                break
            climbed = above[rng.integers(len(above))]
            below = climbed.closure(lambda node: node.hyponyms() + node.instance_hyponyms(), depth=2)
            near = [str(node.name()) for node in itertools.islice(below, 50)]
            pairs.append((own, str(climbed.name())))
            pairs.extend((own, near[i]) for i in rng.integers(len(near), size=2))
    return pairs[:num]


@pytest.mark.slow
def test_ten_thousand_pairs_equal_nltk(wordnet: WordNet, ic_file: Path) -> None:
    rng = np.random.default_rng(3)
    near = near_pairs(wordnet, rng, 5000)
    names = list(dict.fromkeys(name for pair in near for name in pair))
    random = [tuple(names[i] for i in pair) for pair in rng.integers(len(names), size=(5000, 2))]
    counts, information = nltk_counts(ic_file), read_information_content(str(ic_file))
    wordnet._reader._max_depth["n", False] = wordnet.noun_depth
    measures = ("path", "lch", "wup", "lin", "jcn")
    relations = [wordnet.relation(names, measure, information=information) for measure in measures]
    index = {name: i for i, name in enumerate(names)}
    pairs = sorted([*near, *random], key=lambda pair: index[pair[0]])
    skewed = 0
    for own, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
        row_M = [relation(np.array([index[own]]))[0] for relation in relations]
        a = wordnet._get(own)
        for _, other in group:
            b = wordnet._get(other)
            both = a.wup_similarity(b), b.wup_similarity(a)
            skewed += both[0] != both[1]
            expected = (
                a.path_similarity(b), a.lch_similarity(b), 1.0 if a == b else max(both),
                1.0 if a == b else a.lin_similarity(b, counts), a.jcn_similarity(b, counts),
            )  # fmt: skip
            for measure, row, value in zip(measures, row_M, expected, strict=True):
                assert row[index[other]] == pytest.approx(value, abs=1e-12, rel=1e-12), (measure, own, other)
    assert 0 < skewed < 200  # NLTK's Wu-Palmer depends on the order for a few pairs in a thousand


def test_information_content_equals_nltk_pair_by_pair(wordnet: WordNet, ic_file: Path) -> None:
    counts, information = nltk_counts(ic_file), read_information_content(str(ic_file))
    names = [name for name in SAMPLE if name != "entity.n.01"]  # 0 / 0 for NLTK
    every = np.arange(len(names))
    lin_CC = wordnet.relation(names, "lin", information=information)(every)
    jcn_CC = wordnet.relation(names, "jcn", information=information)(every)
    for i, a in enumerate(map(wordnet._get, names)):
        for j, b in enumerate(map(wordnet._get, names)):
            lin = 1.0 if i == j else a.lin_similarity(b, counts)
            assert lin_CC[i, j] == pytest.approx(lin, abs=1e-12), (names[i], names[j])
            assert jcn_CC[i, j] == pytest.approx(a.jcn_similarity(b, counts), rel=1e-12), (names[i], names[j])


def test_kinds_of_a_synset_have_information_of_their_own(wordnet: WordNet, ic_file: Path) -> None:
    information = read_information_content(str(ic_file))
    own = information.of(wordnet.offset("shoe.n.01"))
    rows = wordnet.relation(
        ["shoe.n.01", "shoe.n.01", "shoe.n.01"], "lin", kind_of=[True, True, False], information=information
    )
    kind = own + np.log(2)
    expected = [1, own / kind, 2 * own / (own + kind)]
    np.testing.assert_allclose(rows(np.array([0]))[0], expected, rtol=1e-12)
    with pytest.raises(ValueError, match="needs information content"):
        wordnet.relation(["shoe.n.01"], "jcn")
    with pytest.raises(ConfigError, match="counts nothing at the top of this WordNet"):
        wordnet.relation(["shoe.n.01"], "lin", information=InformationContent({1: 2.0}, 2.0))


@pytest.mark.parametrize(
    ("name", "synset", "head"),
    [
        ("polar bears", "ice_bear.n.01", None),
        ("Polar_Bear", "ice_bear.n.01", None),
        ("ice-hockey", "ice_hockey.n.01", None),
        ("tshirts", "jersey.n.03", None),
        ("tench, Tinca tinca", "tench.n.01", None),
        ("n02958343 car, auto", "car.n.01", None),
        ("auto.n.01", "car.n.01", None),
        ("red sports car", "sports_car.n.01", "sports car"),
        ("women", "woman.n.01", None),
        ("a portrait of dogs", "portrayal.n.01", "portrait"),
    ],
)
def test_names_are_understood(wordnet: WordNet, name: str, synset: str, head: str | None) -> None:
    senses = wordnet.senses(name)
    assert senses.synsets[0] == synset
    assert senses.head == head


@pytest.mark.parametrize("name", ["formula1", "猫", "", "  ", "n99999999", "xyzzy.n.01", "qwrt of dogs"])
def test_unknown_names_have_no_sense(wordnet: WordNet, name: str) -> None:
    assert wordnet.senses(name) == Senses(())


def test_texts_and_parents_of_a_sense(wordnet: WordNet) -> None:
    assert wordnet.lemmas("cricket.n.02") == ("cricket",)
    assert wordnet.lemmas("ice_bear.n.01")[1] == "polar bear"
    assert wordnet.gloss("cricket.n.02").startswith("a game played with a ball and bat")
    assert wordnet.parents("cricket.n.02") == ("field_game.n.01",)
    assert wordnet.parents("einstein.n.01") == ("physicist.n.01",)
    assert wordnet.identity.startswith("WordNet 3.")
    assert "polar bear" in wordnet.compounds
    assert "bear" not in wordnet.compounds


def test_two_kinds_of_one_synset_are_siblings(wordnet: WordNet) -> None:
    path_CC = wordnet.similarity(["shoe.n.01", "shoe.n.01", "shoe.n.01"], "path", kind_of=[True, True, False])
    np.testing.assert_allclose(path_CC, [[1, 1 / 3, 1 / 2], [1 / 3, 1, 1 / 2], [1 / 2, 1 / 2, 1]])


def test_an_unknown_sense_or_measure_is_refused(wordnet: WordNet) -> None:
    with pytest.raises(ConfigError, match=r"no noun sense 'cricket\.n\.99'"):
        wordnet.synset("cricket.n.99")
    with pytest.raises(ValueError, match="measure must be"):
        wordnet.similarity(["dog.n.01"], "resnik")


@pytest.mark.slow
def test_reads_a_folder_without_lexnames_and_nltks_archive(wordnet: WordNet, tmp_path: Path) -> None:
    folder, archive = tmp_path / "dict", tmp_path / "wordnet.zip"
    folder.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        for name in wordnet_fetch.NEEDED:
            data = (wordnet.place / name).read_bytes()
            (folder / name).write_bytes(data)
            file.writestr(f"wordnet/{name}", data)
    for place in (folder, archive):
        opened = open_wordnet(str(place))
        assert opened.senses("cricket") == wordnet.senses("cricket")
        assert opened.identity == wordnet.identity


def test_a_folder_that_is_not_wordnet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not hold WordNet"):
        open_wordnet(str(tmp_path))


def test_without_wordnet_the_error_lists_the_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet_fetch, "known_places", lambda: iter(()))
    monkeypatch.setattr(wordnet_fetch, "download_with_nltk", lambda: None)
    with pytest.raises(DependencyMissingError, match="not on this machine") as caught:
        open_wordnet()
    for way in ("doctor --fetch wordnet", "nltk.downloader", "apt-get install wordnet-base", "--wordnet DIR"):
        assert way in str(caught.value.hint)


def test_lexnames_has_the_files_of_wordnet() -> None:
    lines = wordnet_fetch.lexnames().splitlines()
    assert len(lines) == 45
    assert lines[0] == "00\tadj.all\t3"
    assert lines[5] == "05\tnoun.animal\t1"
    assert lines[43] == "43\tverb.weather\t2"
    assert lines[44] == "44\tadj.ppl\t3"


class FakeApt:
    """Stands in for apt-get and dpkg-deb: notes the calls and leaves a package tree behind."""

    def __init__(self, *, lacks: str | None = None, fails: str | None = None) -> None:
        self.calls: list[list[str]] = []
        self.lacks, self.fails = lacks, fails

    def __call__(self, command: list[str], **options: Any) -> None:
        self.calls.append(command)
        assert options["timeout"] > 0
        if self.fails in command:
            raise subprocess.CalledProcessError(100, command, output="Reading...\nE: no index is reached\n")
        if "download" in command:
            (Path(options["cwd"]) / "wordnet-base_3.0_all.deb").touch()
        if command[0] == "dpkg-deb":
            share = Path(command[-1]) / "usr" / "share"
            (share / "wordnet").mkdir(parents=True)
            (share / "doc" / "wordnet-base").mkdir(parents=True)
            (share / "doc" / "wordnet-base" / "copyright").write_text("WordNet License")
            for name in wordnet_fetch.NEEDED:
                if name != self.lacks:
                    (share / "wordnet" / name).write_text("x")


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet_fetch, "find_wordnet", lambda: None)
    monkeypatch.setattr(wordnet_fetch, "download_with_nltk", lambda: None)


@pytest.mark.usefixtures("nowhere")
def test_fetch_keeps_apt_inside_the_prefix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    apt = FakeApt()
    monkeypatch.setattr(subprocess, "run", apt)
    (tmp_path / "share" / "wordnet").mkdir(parents=True)  # what a killed run may have left
    place = wordnet_fetch.fetch_wordnet(tmp_path)
    assert place == tmp_path / "share" / "wordnet"
    assert (place / "lexnames").read_text() == wordnet_fetch.lexnames()
    assert (place / "LICENSE").read_text() == "WordNet License"
    assert [path.name for path in place.parent.iterdir()] == ["wordnet"]  # nothing temporary is left
    update = apt.calls[0]
    for name in ("Dir::State", "Dir::Cache"):
        assert any(option.startswith(f"{name}={tmp_path}") for option in update)
    assert "Dir::State::status=/var/lib/dpkg/status" in update
    assert wordnet_fetch.fetch_wordnet(tmp_path) == place
    assert len(apt.calls) == 3  # the second time nothing is fetched


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(
    ("apt", "reason"),
    [(FakeApt(fails="update"), "E: no index is reached"), (FakeApt(lacks="data.noun"), "lacks one of")],
)
def test_a_failed_fetch_says_why_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, apt: FakeApt, reason: str
) -> None:
    monkeypatch.setattr(subprocess, "run", apt)
    with pytest.raises(DependencyMissingError, match="WordNet") as caught:
        wordnet_fetch.fetch_wordnet(tmp_path)
    assert reason in str(caught.value.context)
    assert list((tmp_path / "share").iterdir()) == []


@pytest.mark.usefixtures("nowhere")
def test_a_machine_without_apt_gets_the_other_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(command: list[str], **_: Any) -> None:
        raise FileNotFoundError(2, "No such file or directory", command[0])

    monkeypatch.setattr(subprocess, "run", absent)
    with pytest.raises(DependencyMissingError, match="WordNet") as caught:
        wordnet_fetch.fetch_wordnet(tmp_path)
    assert "apt-get" in str(caught.value.context)
