"""Knobs: ranges, types, names, what the fingerprint holds."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webclean import config
from webclean.config import (
    DecideConfig,
    DedupConfig,
    EvaluateConfig,
    ExportConfig,
    FeaturesConfig,
    GeneralConfig,
    IngestConfig,
    JudgeImageConfig,
    JudgeTextConfig,
    SimilarityConfig,
    Stage1Config,
    Stage2Config,
    StageConfig,
    TrainConfig,
    check_file,
    from_mapping,
    knob,
    sections,
    type_hints,
)
from webclean.errors import ConfigError

KINDS = list(sections().values())


def test_unknown_key_offers_the_nearest_name():
    with pytest.raises(ConfigError, match=r"\[dedup\] has no setting 'radus'") as caught:
        from_mapping(DedupConfig, {"radus": 3})
    assert caught.value.hint == "did you mean 'radius'?"


def test_unknown_key_unlike_any_other_lists_all():
    with pytest.raises(ConfigError, match="has no setting") as caught:
        from_mapping(DedupConfig, {"zzzzzz": 3})
    assert caught.value.hint is not None
    assert "radius" in caught.value.hint


def test_dashes_and_underscores_are_the_same_key():
    assert from_mapping(Stage1Config, {"rank-floor": 0.5}) == Stage1Config(rank_floor=0.5)


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (DedupConfig, {"radius": -1}, "at least 0; got -1"),
        (DedupConfig, {"radius": 21}, "at most 20; got 21"),
        (Stage1Config, {"rank_power": 0.0}, "above 0; got 0.0"),
        (SimilarityConfig, {"match_threshold": 1.0}, "below 1; got 1.0"),
        (IngestConfig, {"format": "tar"}, "one of auto, folder, .*; got 'tar'"),
        (DecideConfig, {"evidence": ["rank", "luck"]}, "got 'luck'"),
        (DedupConfig, {"radius": 1.5}, "must be int; got 1.5"),
        (DedupConfig, {"radius": True}, "must be int; got True"),
        (DedupConfig, {"correlation": "high"}, "must be float; got 'high'"),
        (DedupConfig, {"correlation": float("nan")}, "finite"),
        (JudgeImageConfig, {"judge_strengths": [1.0, float("inf")]}, "finite"),
        (JudgeImageConfig, {"judge_strengths": 3}, "must be a list; got 3"),
        (IngestConfig, {"allow_outside": "yes"}, "must be bool; got 'yes'"),
        (IngestConfig, {"title_column": 3}, "must be str; got 3"),
        (SimilarityConfig, {"wordnet": "none", "encoder": "none"}, "cannot both be none"),
        (TrainConfig, {"folds": 1}, "0 .in sample. or at least 2"),
        (
            TrainConfig,
            {"keep_start": 50, "keep_last": 40},
            "keep_start must be at most keep_last; got 50.0 and 40.0",
        ),
        (JudgeImageConfig, {"folds_side": 100}, "folds_side must be a multiple of 16; got 100"),
        (DecideConfig, {"name": "../duplicates"}, r"\[decide\] name must be the name of one folder; got"),
        (DecideConfig, {"name": "/tmp/evil"}, "name of one folder"),
        (FeaturesConfig, {"name": "a\\b"}, "name of one folder"),
        (FeaturesConfig, {"name": " "}, "name of one folder"),
        (TrainConfig, {"name": ".."}, "name of one folder"),
        (TrainConfig, {"name": ".hidden"}, "name of one folder"),
        (TrainConfig, {"name": "x" * 250}, "name of one folder"),
        (ExportConfig, {"decisions": ""}, "name of one folder"),
        (EvaluateConfig, {"model": "a\nb"}, "name of one folder"),
    ],
)
def test_bad_values_are_named(kind, values, words):
    with pytest.raises(ConfigError, match=words):
        from_mapping(kind, values)


def test_ranges_are_checked_however_a_config_is_made():
    with pytest.raises(ConfigError, match=r"\[general\] workers must be at least 0; got -2"):
        GeneralConfig(workers=-2)
    with pytest.raises(ConfigError, match="radius must be at most 20"):
        dataclasses.replace(DedupConfig(), radius=64)


def test_lists_come_from_text_and_from_lists():
    from_text = from_mapping(DecideConfig, {"evidence": "image, rank"})
    assert from_text == from_mapping(DecideConfig, {"evidence": ["image", "rank"]})
    assert from_text.evidence == ("image", "rank")  # type: ignore[attr-defined]
    assert from_mapping(JudgeImageConfig, {"judge_strengths": "1,10"}).judge_strengths == (1.0, 10.0)  # type: ignore[attr-defined]


def test_a_word_may_stand_in_a_numbers_place():
    for value, meant in (("auto", "auto"), ("0.5", 0.5), (2, 2.0)):
        assert from_mapping(Stage2Config, {"match_temperature": value}).match_temperature == meant  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"match_temperature must be float or auto; got 'atuo'"):
        from_mapping(Stage2Config, {"match_temperature": "atuo"})
    with pytest.raises(ConfigError, match="must be above 0"):
        from_mapping(Stage2Config, {"match_temperature": "0"})
    with pytest.raises(ConfigError, match="must be float or auto; got ''"):
        from_mapping(Stage2Config, {"match_temperature": ""})


def test_whole_numbers_do_for_floats_and_empty_text_for_not_set():
    assert from_mapping(DedupConfig, {"correlation": 1}) == DedupConfig(correlation=1.0)
    assert from_mapping(IngestConfig, {"limit": "", "title_column": ""}) == IngestConfig()


@given(st.integers(0, 20), st.floats(0, 1))
def test_values_in_range_are_taken_as_they_are(radius, correlation):
    made = from_mapping(DedupConfig, {"radius": radius, "correlation": correlation})
    assert made == DedupConfig(radius=radius, correlation=correlation)


@pytest.mark.parametrize("kind", KINDS)
def test_every_knob_is_documented_and_its_default_in_range(kind):
    kind()
    hints = type_hints(kind)
    for field in dataclasses.fields(kind):
        text = field.metadata["help"]
        assert text.endswith("."), field.name
        assert hints[field.name] is not None


@pytest.mark.parametrize("kind", KINDS)
def test_configs_are_frozen_without_a_dict(kind):
    made = kind()
    assert not hasattr(made, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(kind)[0].name, None)


def test_technical_fields_make_nothing_stale():
    assert "workers" not in GeneralConfig().fingerprint_fields()
    assert GeneralConfig(workers=1).fingerprint_fields() == GeneralConfig(workers=7).fingerprint_fields()
    assert GeneralConfig(seed=1).fingerprint_fields() != GeneralConfig(seed=2).fingerprint_fields()


def test_fingerprint_is_plain_json():
    fields = JudgeImageConfig().fingerprint_fields()
    assert fields["judge_strengths"] == [0.3, 1.0, 3.0, 10.0, 30.0, 100.0]


def test_mutable_defaults_are_refused():
    with pytest.raises(TypeError, match="immutable"):
        knob([], "A list.")


def test_sections_are_the_stages_and_nothing_else():
    names = list(sections())
    assert names[:3] == ["general", "ingest", "dedup"]
    assert "judge-image" in names
    # Bases hold shared knobs and are no section; `slots=True` makes each class twice, so that
    # __subclasses__ would list the unused twins as well.
    assert not {"stage", "judge", "folds"} & set(names)
    assert all(kind is getattr(config, kind.__name__) for kind in KINDS)
    assert all(issubclass(kind, StageConfig) for kind in KINDS)


def test_a_settings_file_is_checked_in_all_its_sections():
    with pytest.raises(ConfigError, match=r"no section \[dedupe\]") as section:
        check_file({"dedupe": {"radius": 3}}, "my.toml")
    assert section.value.hint == "did you mean [dedup]?"
    with pytest.raises(ConfigError, match="has no setting 'radus'") as key:
        check_file({"dedup": {"radus": 3}}, "my.toml")
    assert key.value.context == "my.toml"
    with pytest.raises(ConfigError, match="no section"):
        check_file({"dedup": 3}, "my.toml")
    with pytest.raises(ConfigError, match=r"\[stage1\] round cannot be set: the command decides it"):
        check_file({"stage1": {"round": 3}}, "my.toml")


def test_names_follow_from_what_they_name():
    assert DecideConfig().name == "default"
    assert DecideConfig(evidence=("image", "rank")).name == "image-rank"
    assert TrainConfig().name == TrainConfig().method
    assert JudgeTextConfig.section() == "judge-text"


def test_text_is_judged_without_images_where_images_have_no_say():
    """Later rounds' text judges have been told what the images say."""
    from webclean.config import DecideConfig

    assert DecideConfig(round=3).text_round == 3
    assert DecideConfig(round=3, evidence=("image", "text")).text_round == 3
    assert DecideConfig(round=3, evidence=("rank", "text")).text_round == 1
    assert DecideConfig(evidence=("text",)).wanted == {"mass", "text-judge"}
