"""--match-by imagetext from the command line, with a real CLIP model of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_model import SIDE, save_clip
from PIL import Image

from webclean import schema
from webclean.cli.app import main
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.ops.temperature import fitted_temperature, likelihood_terms

NAMES = ("cat", "oak")
NUM = 120  # enough for a temperature


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    for i in range(NUM):
        place = folder / "crawl" / NAMES[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)).save(place / f"{i:03d}.png")
    (folder / "tree.csv").write_text("child,parent\ncat,thing\noak,thing\n")
    assert main(["ingest", str(folder / "crawl"), str(folder / "run"), "--workers", "0", "--quiet"]) == 0
    return folder


def weigh(folder: Path, *flags: str) -> int:
    words = ["--wordnet", "none", "--encoder", "none", "--taxonomy", str(folder / "tree.csv")]
    asked = ["--match-by", "imagetext", "--rounds", "1", "--workers", "0", "-q", "--json"]
    return main(["weight", str(folder / "run"), *words, *asked, *flags])


def stage2(shown: str) -> dict[str, Any]:
    result: dict[str, Any] = next(one["result"] for one in json.loads(shown) if one["stage"] == "stage2")
    return result


@pytest.mark.slow
def test_scores_are_the_models_own_probabilities_of_the_label(
    clip: Path, ingested: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(clip), local_files_only=True)
    run = RunDir(str(ingested / "run"))
    images = tables.read(run, schema.IMAGES, schema.IMAGES_TABLE).to_pylist()
    pictures = [Image.open(row["uri"].removeprefix("file://")) for row in images]
    image_ND = model.encode(pictures, normalize_embeddings=True)  # type: ignore[arg-type]
    text_CD = model.encode([f"a photo of {name}" for name in NAMES], normalize_embeddings=True)
    scale = float(
        next(one for one in model.modules() if hasattr(one, "logit_scale")).logit_scale.detach().exp()
    )
    power_NC = np.exp(scale * image_ND.astype(float) @ text_CD.astype(float).T)
    p_NC = power_NC / power_NC.sum(axis=1, keepdims=True)
    label_N = np.array([NAMES.index(row["category"]) for row in images])

    def scores() -> np.ndarray:
        found = tables.read(run, schema.stage2_path(1), schema.STAGE2_TABLE)
        assert not any(found.column("no_judge").to_pylist())
        return np.asarray(found.column("match_score").to_numpy())

    # The network that heads are fitted on is the CLIP model.
    capsys.readouterr()
    assert (
        weigh(ingested, "--backbone", f"st/{clip}", "--match-temperature", "1", "--match-minimum", "0") == 0
    )
    told = stage2(capsys.readouterr().out)
    assert (told["temperature"], told["judged"], told["memorisation"]) == (1, NUM, None)
    np.testing.assert_allclose(scores(), p_NC[np.arange(NUM), label_N], atol=1e-5)
    assert np.ptp(p_NC) > 0.01

    # A CLIP model beside the judge's network, and the temperature from the labels.
    assert weigh(ingested, "--backbone", f"st/{clip}", "--clip", str(clip), "--match-minimum", "0") == 0
    temperature = stage2(capsys.readouterr().out)["temperature"]
    believed = tables.read(run, schema.beliefs_path(1), schema.BELIEFS_TABLE).column("p_right").to_numpy()
    every_NC = np.broadcast_to(np.arange(2), p_NC.shape)
    terms = likelihood_terms(every_NC, p_NC, label_N, p_NC[np.arange(NUM), label_N], 2)
    assert temperature == pytest.approx(fitted_temperature(terms, np.asarray(believed)), rel=0.02)
    assert run.exists("features/imagetext/run.json")
    power_NC = p_NC ** (1 / temperature)
    expected_N = (power_NC / power_NC.sum(axis=1, keepdims=True))[np.arange(NUM), label_N]
    np.testing.assert_allclose(scores(), expected_N, atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--backbone", "small"], "compares images with texts and needs a CLIP model"),
        (["--clip", "./nowhere"], "--clip ./nowhere: no such folder"),
        (["--clip", "FOLDER"], "is not a sentence-transformers model"),
        (["--clip", "x", "--match-score", "kl"], "are two scores: choose one"),
    ],
)
def test_what_is_lacking_is_said_before_any_work(
    ingested: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    flags = [str(ingested) if flag == "FOLDER" else flag for flag in flags]
    assert weigh(ingested, *flags) == 2
    assert said in " ".join(capsys.readouterr().err.split())
