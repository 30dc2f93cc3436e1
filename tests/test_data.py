from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from exported_run import Row, picture, write_run
from torch.utils.data import DataLoader

import webclean
from webclean.config import ExportConfig
from webclean.errors import ArtifactInvalidError, ArtifactMissingError, ConfigError
from webclean.stages import export

KINDS = (
    ExportConfig(to="csv"),
    ExportConfig(to="csv", images="copy"),
    ExportConfig(to="jsonl", images="symlink"),
    ExportConfig(to="jsonl", images="hardlink"),
    ExportConfig(to="parquet"),
    ExportConfig(to="parquet", embed=True),
    ExportConfig(to="imagefolder"),
)


@pytest.fixture
def context(tmp_path):
    return write_run(
        tmp_path,
        [
            Row("a.jpg", "cat", 0.9, data=picture(1, orientation=6), extra={"split": "train"}),
            Row("b.png", "cat", 0.6, format="PNG", extra={"split": "train"}),
            Row("c.jpg", "dog", 0.8, extra={"split": "val"}),
            Row("d.jpg", "eel", 0.2),
        ],
    )


def pixels(image):
    return torch.from_numpy(np.array(image.resize((4, 4)))).float()


@pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.to}-{c.images}-{c.embed}")
def test_every_kind_of_export_gives_the_same_data(context, tmp_path, config):
    export.run(config, context, tmp_path / "out")
    data = webclean.load_manifest(tmp_path / "out")
    assert isinstance(data, torch.utils.data.Dataset)
    assert data.categories == ("cat", "dog", "eel")
    assert [data[i][1:] for i in range(len(data))] == [(0, 0.9), (0, 0.6), (1, 0.8)]
    image = data[0][0]
    assert (image.mode, image.size) == ("RGB", (8, 12))  # stored 12 x 8, turned upright
    assert len(webclean.load_manifest(tmp_path / "out", split="val")) == 1
    assert webclean.load_manifest(tmp_path / "out", split="val")[0][1] == 1


@pytest.mark.slow
def test_a_loader_with_workers_sees_what_one_without_sees(context, tmp_path):
    export.run(ExportConfig(to="parquet", embed=True), context, tmp_path / "out")
    data = webclean.load_manifest(tmp_path / "out", transform=pixels)
    data[0]  # opens the file in this process first
    alone, beside = (
        list(DataLoader(data, batch_size=2, num_workers=n, multiprocessing_context="spawn" if n else None))
        for n in (0, 1)
    )
    for one, other in zip(alone, beside, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_weights_make_a_weighted_loss(context, tmp_path):
    export.run(ExportConfig(to="csv"), context, tmp_path / "out")
    images, labels, weights = next(
        iter(DataLoader(webclean.load_manifest(tmp_path / "out", transform=pixels), 3))
    )
    logits = torch.zeros(3, 3)
    loss = webclean.weighted_loss(logits, labels, weights, normalised=True)
    assert images.shape == (3, 4, 4, 3)
    assert float(loss) == pytest.approx(float(np.log(3)))


def test_the_sampler_draws_categories_equally_and_images_by_weight(context, tmp_path):
    export.run(ExportConfig(to="csv"), context, tmp_path / "out")
    data = webclean.load_manifest(tmp_path / "out")
    np.testing.assert_allclose(torch.as_tensor(data.sampler(0).weights), [0.6, 0.4, 1.0])
    np.testing.assert_allclose(torch.as_tensor(data.sampler(0, balanced=False).weights), [0.9, 0.6, 0.8])
    assert list(data.sampler(5)) == list(data.sampler(5))
    draws = np.bincount([i for seed in range(400) for i in data.sampler(seed)], minlength=3)
    np.testing.assert_allclose(draws / draws.sum(), [0.3, 0.2, 0.5], atol=0.05)


def test_what_is_no_export_is_said(context, tmp_path):
    with pytest.raises(ArtifactMissingError, match="manifest.json does not exist"):
        webclean.load_manifest(tmp_path)
    export.run(ExportConfig(to="csv"), context, tmp_path / "out")
    with pytest.raises(ConfigError, match="no split 'test'"):
        webclean.load_manifest(tmp_path / "out", split="test")
    (tmp_path / "source/a.jpg").unlink()
    with pytest.raises(ArtifactMissingError, match="a.jpg cannot be read"):
        webclean.load_manifest(tmp_path / "out")[0]
    (tmp_path / "out/manifest.json").write_text("{")
    with pytest.raises(ArtifactInvalidError, match="is not JSON"):
        webclean.load_manifest(tmp_path / "out")
    (tmp_path / "out/manifest.json").write_text(json.dumps({"made_by": "other"}))
    with pytest.raises(ArtifactInvalidError, match="was not written by"):
        webclean.load_manifest(tmp_path / "out")


@pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.to}-{c.images}-{c.embed}")
def test_a_reader_gives_files_and_labels(context, tmp_path, config):
    export.run(config, context, tmp_path / "out")
    data = webclean.load_manifest(tmp_path / "out", split="train")
    reader = data.reader()
    assert len(reader) == len(data) == 2
    assert reader.class_to_idx == {"cat": 0, "dog": 1, "eel": 2}
    for index in range(2):
        file, label = reader[index]
        assert label == int(data.labels[index])
        assert file.read(2) == (b"\xff\xd8" if index == 0 else b"\x89P")
    assert reader.filenames() == list(data.paths)
    assert [name.rpartition("/")[2] for name in data.paths] == reader.filenames(basename=True)
    if data.is_inside:
        assert all((tmp_path / "out").as_posix() in name for name in reader.filenames(absolute=True))


def test_timm_reads_an_export(context, tmp_path):
    timm_data = pytest.importorskip("timm.data", reason="timm is not installed: pip install timm")
    export.run(ExportConfig(to="csv"), context, tmp_path / "out")
    data = webclean.load_manifest(tmp_path / "out")
    dataset = timm_data.ImageDataset(str(tmp_path / "out"), reader=data.reader())
    assert [label for _, label in (dataset[i] for i in range(len(dataset)))] == data.labels.tolist()
    assert dataset.filename(1) == data.paths[1]


def test_a_batch_for_the_trainer(context, tmp_path):
    export.run(ExportConfig(to="csv"), context, tmp_path / "out")
    data = webclean.load_manifest(tmp_path / "out", transform=pixels)
    batch = data.collate([data[0], data[2]])
    assert batch["pixel_values"].shape == (2, 4, 4, 3)
    assert batch["labels"].tolist() == [0, 1]
    np.testing.assert_allclose(batch["weights"], [0.9, 0.8])
