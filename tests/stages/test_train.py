import json

import numpy as np
import pytest
from PIL import Image
from two_stage_run import TinyRun, image

from webclean import schema
from webclean.config import TrainConfig
from webclean.engines.local import InlineEngine
from webclean.errors import ConfigError, ImagesNotFoundError
from webclean.io import pixels, tables, weight_files
from webclean.nn import recipe
from webclean.stages import predict, train
from webclean.stages.base import Context

SMALL = {
    "backbone": "small", "weights": "none", "image_side": 32, "epochs": 3, "warmup_epochs": 1, "memory_side": 3,
    "batch_images": 8, "images_per_bag": 2, "threads": 1,
}  # fmt: skip
COLOURS = {"blue": (30, 40, 200), "green": (40, 180, 60), "red": (210, 50, 40)}


@pytest.fixture
def crawl(tmp_path):
    """18 pictures of three colours (one of them broken), in parts of 8; a copy, two under two labels, one of a test set."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(18):
        name = sorted(COLOURS)[i % 3]
        pixels_HW3 = np.clip(np.array(COLOURS[name]) + rng.normal(0, 25, (40, 48, 3)), 0, 255)
        path = tmp_path / "source" / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels_HW3.astype(np.uint8)).save(path)
        rows.append(image(i, category=name, query=name, uri=str(path), width=48, height=40))
    rows[4]["status"] = "corrupt"

    def make(folder="run"):
        run = TinyRun(tmp_path / folder, rows, part_rows=8)
        run.ctx.engine = InlineEngine()
        run.duplicates([
            {"image": 0, "keeper": 0}, {"image": 3, "keeper": 0},
            {"image": 6, "keeper": None, "group": 1}, {"image": 7, "keeper": None, "group": 1},
            {"image": 9, "keeper": 9, "group": 2, "against": "test/9.png"},
        ])  # fmt: skip
        return run

    return make


def read(run, name, part, table):
    return tables.read(run.dir, f"models/{name}/{part}", table)


def artefacts(run, name):
    """Bytes of all that is compared: parts, model, config."""
    root = run.dir.local_path(f"models/{name}")
    files = [path for path in sorted(root.rglob("*")) if path.suffix == ".parquet" or path.parent == root]
    return {
        str(p.relative_to(root)): p.read_bytes() for p in files if p.is_file() and p.name != "history.jsonl"
    }


def test_somnet_from_scratch_writes_all_its_tables(crawl):
    run = crawl()
    counts = train.run(TrainConfig(**SMALL), run.ctx)
    assert (counts.total, counts.forwarded, counts.dropped) == (18, 17, {"bad_file": 1})
    said = read(run, "somnet", "predictions", schema.MODEL_PREDICTIONS_TABLE)
    usable = [row["image_id"] for row in run.images if row["status"] == "ok"]
    assert said.column("image_id").to_pylist() == usable
    assert all(said.column("in_sample").to_pylist())
    assert set(said.column("fold").to_pylist()) == {-1}
    score = np.array(said.column("somnet_score").to_pylist())
    assert ((score >= 0) & (score <= 1)).all()
    np.testing.assert_allclose([sum(p) for p in said.column("top_probabilities").to_pylist()], 1.0, atol=1e-5)

    rois = read(run, "somnet", "rois", schema.ROIS_TABLE)
    assert rois.num_rows == 17 * 23
    weight = np.array(rois.column("weight").to_pylist()).reshape(17, 23)
    np.testing.assert_allclose(weight.sum(axis=1), 1.0)
    d = np.array(rois.column("d").to_pylist()).reshape(17, 23)
    np.testing.assert_allclose(d.mean(axis=1), score)
    assert rois.column("box").to_pylist()[0] == [0, 0, 48, 40]

    memory = read(run, "somnet", "memory", schema.MEMORY_TABLE)
    d_KC = np.array(memory.column("d").to_pylist()).reshape(9, 3)
    np.testing.assert_allclose(d_KC.sum(axis=1), 1.0)
    assert (
        run.ctx.result["learned_from"] == 17 - 1 - 2 - 1
    )  # the copy, one picture under two labels, a copy of the user's own test image
    history = [
        json.loads(line) for line in run.dir.read_bytes("models/somnet/history.jsonl").decode().splitlines()
    ]
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert all(set(row["clock"]) == {"seconds"} for row in history)


def test_same_settings_give_the_same_bytes_also_when_killed(crawl):
    config = TrainConfig(**SMALL, method="somnet", folds=2, repeats=1)
    whole, killed = crawl("whole"), crawl("killed")
    train.run(config, whole.ctx)

    class KilledError(Exception):
        pass

    class Bar:
        steps = 0

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return None

        def describe(self, text):
            pass

        def advance(self, steps=1):
            Bar.steps += steps
            if Bar.steps >= 17 + 13:  # 17 images, then inside the second of three fits
                raise KilledError

    context = Context(killed.dir, InlineEngine(), progress=lambda **kw: Bar())
    with pytest.raises(KilledError):
        train.run(config, context)
    train.run(config, killed.ctx)
    one, two = artefacts(whole, "somnet"), artefacts(killed, "somnet")
    assert sorted(one) == sorted(two)
    assert [name for name in one if one[name] != two[name]] == []
    clockless = [
        [{k: v for k, v in json.loads(line).items() if k != "clock"} for line in text.decode().splitlines()]
        for text in (run.dir.read_bytes("models/somnet/history.jsonl") for run in (whole, killed))
    ]
    assert clockless[0] == clockless[1]
    assert len(clockless[0]) == 3 * 3

    said = read(whole, "somnet", "predictions", schema.MODEL_PREDICTIONS_TABLE)
    assert not any(said.column("in_sample").to_pylist())
    fold = dict(zip(said.column("image_id").to_pylist(), said.column("fold").to_pylist(), strict=True))
    ids = [row["image_id"] for row in whole.images]
    assert fold[ids[0]] == fold[ids[3]]
    assert fold[ids[6]] == fold[ids[7]]
    assert set(fold.values()) == {0, 1}


def test_plain_has_no_memory_and_a_name_of_its_own(crawl):
    run = crawl()
    train.run(TrainConfig(**SMALL, method="plain"), run.ctx)
    said = read(run, "plain", "predictions", schema.MODEL_PREDICTIONS_TABLE)
    assert set(said.column("somnet_score").to_pylist()) == {None}
    assert read(run, "plain", "rois", schema.ROIS_TABLE).num_rows == 0
    assert read(run, "plain", "memory", schema.MEMORY_TABLE).num_rows == 0


@pytest.mark.parametrize(
    "ablation",
    [
        {"proposals": "none"}, {"proposals": "random", "num_proposals": 4}, {"cluster": "kmeans"},
        {"roi_score": "r", "area_score": False, "memory_radius": 0}, {"keep_start": 100.0}, {"images_per_bag": 1},
        {"key_update": "gradient", "value_update": "gradient", "memory_to_backbone": True}, {"validation": 0.25},
    ],
)  # fmt: skip
def test_every_ablation_runs(crawl, ablation):
    run = crawl()
    train.run(TrainConfig(**(SMALL | {"epochs": 2} | ablation)), run.ctx)
    score = (
        read(run, "somnet", "predictions", schema.MODEL_PREDICTIONS_TABLE).column("somnet_score").to_pylist()
    )
    assert np.isfinite(np.array(score, dtype=float)).all()


def test_weights_of_the_round_are_used(crawl):
    run = crawl()
    weights = np.where(np.arange(18) % 5 == 0, 0.0, 0.5)
    stage1 = [
        {
            "image_id": row["image_id"], "rank_position": None, "rank_percentile": None, "rank_weight": 1.0,
            "text_match": 1.0, "text_judge": None, "weight": float(w), "sampling": 0.1, "missing_rank": True,
            "missing_text": True,
        }
        for row, w in zip(run.images, weights, strict=True)
    ]  # fmt: skip
    run.write(schema.stage1_path(1), schema.STAGE1_TABLE, stage1)
    train.run(TrainConfig(**(SMALL | {"epochs": 1})), run.ctx)
    left = [i for i in range(18) if weights[i] > 0 and i not in (3, 4, 6, 7, 9)]
    assert run.ctx.result["learned_from"] == len(left)


def test_a_crawl_without_usable_images_says_so(crawl):
    run = crawl()
    for row in run.images:
        row["status"] = "corrupt"
    run.write(schema.IMAGES, schema.IMAGES_TABLE, run.images)
    with pytest.raises(ImagesNotFoundError, match="no usable image"):
        train.run(TrainConfig(**SMALL), run.ctx)


def test_one_category_alone_can_be_trained(crawl):
    run = crawl()
    for row in run.images:
        row["category"] = "red"
    run.write(schema.IMAGES, schema.IMAGES_TABLE, run.images)
    run.dir.remove(schema.CATEGORIES)
    red = [{"category_id": 0, "name": "red", "queries": ["red"], "num_images": 18}]
    run.write(schema.CATEGORIES, schema.CATEGORIES_TABLE, red)
    train.run(TrainConfig(**(SMALL | {"epochs": 2})), run.ctx)
    said = read(run, "somnet", "predictions", schema.MODEL_PREDICTIONS_TABLE)
    assert set(said.column("log_margin").to_pylist()) == {None}
    assert set(said.column("suggested").to_pylist()) == {None}


def test_a_head_on_random_features_is_refused(crawl):
    run = crawl()
    with pytest.raises(ConfigError, match="needs pretrained weights"):
        train.run(TrainConfig(**(SMALL | {"tune": "head"})), run.ctx)


@pytest.mark.parametrize("proposals", ["grid", "none"])
def test_a_side_that_the_small_network_cannot_halve_is_refused_before_an_image_is_read(
    crawl, monkeypatch, proposals
):
    monkeypatch.setattr(pixels, "square_cache", None)
    config = TrainConfig(**SMALL | {"image_side": 100, "proposals": proposals})
    with pytest.raises(
        ConfigError, match=r"\[train\] image_side must be a multiple of 16 .*got 100"
    ) as caught:
        train.run(config, crawl().ctx)
    assert "--image-side 96 or 112" in caught.value.hint


def test_a_stored_model_says_the_same(crawl, tmp_path):
    run = crawl()
    train.run(TrainConfig(**SMALL), run.ctx)
    check_stored(run, 32)
    check_predicted(run, tmp_path)


@pytest.mark.skipif(weight_files.offline_weights() is None, reason="the extra `offline` is not installed")
def test_a_frozen_backbone_is_cached_and_judges_out_of_sample(crawl):
    run = crawl()
    settings = SMALL | {"backbone": "auto", "weights": "auto", "image_side": 64, "roi_dim": 8, "tune": "head"}
    config = TrainConfig(**settings, folds=2, repeats=1)
    train.run(config, run.ctx)
    said = read(run, "somnet", "predictions", schema.MODEL_PREDICTIONS_TABLE)
    assert not any(said.column("in_sample").to_pylist())
    label = [sorted(COLOURS).index(row["category"]) for row in run.images if row["status"] == "ok"]
    hits = [top[0] == y for top, y in zip(said.column("top_categories").to_pylist(), label, strict=True)]
    assert np.mean(hits) > 0.8
    check_stored(run, 64)


def check_stored(run, side):
    model = recipe.load_model(run.dir, "models/somnet")
    assert model.names == sorted(COLOURS)
    assert model.side == side
    files = [row["uri"] for row in run.images if row["status"] == "ok"]
    log_p = model.log_probabilities(pixels.load_squares(files, side=side))
    assert log_p.shape == (17, 3)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1.0)
    said = read(run, "somnet", "predictions", schema.MODEL_PREDICTIONS_TABLE)
    if all(said.column("in_sample").to_pylist()):
        label = np.array(
            [sorted(COLOURS).index(row["category"]) for row in run.images if row["status"] == "ok"]
        )
        stored = np.array(said.column("label_probability").to_pylist())
        np.testing.assert_allclose(np.exp(log_p[np.arange(17), label]), stored, atol=1e-4)


def check_predicted(run, tmp_path):
    """What evaluate says of a table of test images is what the model itself says of each, one by one."""
    record = {"fingerprint": "", "inputs": {}, "counts": {}, "result": {}, "digest": ""}
    run.dir.write_json(f"models/somnet/{schema.RUN_JSON}", record)
    usable = [row for row in run.images if row["status"] == "ok"]
    names, batches = predict.log_probabilities(run.dir, "somnet", [row["uri"] for row in usable])
    log_p_NC = np.concatenate(list(batches))
    np.testing.assert_allclose(np.exp(log_p_NC).sum(axis=1), 1.0)
    model = recipe.load_model(run.dir, "models/somnet")
    for row, log_p_C in zip(usable, log_p_NC, strict=True):
        alone = model.log_probabilities(pixels.load_squares([row["uri"]], side=model.side))
        np.testing.assert_allclose(alone[0], log_p_C, atol=1e-5)

    likeliest = [names[best] for best in log_p_NC.argmax(axis=1)]
    true = [*likeliest[:-5], *(names[best] for best in log_p_NC[-5:].argmin(axis=1))]
    rows = [["path", "category"], *([row["uri"], name] for row, name in zip(usable, true, strict=True))]
    (tmp_path / "test.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    found = predict.top1(run.dir, "somnet", tmp_path / "test.csv")
    assert (found["model"], found["images"], found["top1"]) == ("somnet", 17, 12 / 17)
    for name, part in found["by_category"].items():
        hits = [said == name for said, label in zip(likeliest, true, strict=True) if label == name]
        assert part == {"images": len(hits), "top1": np.mean(hits)}


def test_settings_are_checked():
    assert TrainConfig().name == "somnet"
    assert TrainConfig(method="plain").name == "plain"
    with pytest.raises(ConfigError, match="folds must be 0"):
        TrainConfig(folds=1)
