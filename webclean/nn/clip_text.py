"""Texts in the space of a CLIP model's image features."""

# C texts, D dims
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from webclean.errors import ConfigError
from webclean.nn.backbones import BackboneSpec
from webclean.nn.threads import repeatable

_BATCH = 32
_THREADS = 1  # part of the result
_MOST_SCALE = 100.0  # CLIP's own bound


@dataclass(frozen=True)
class TextVectors:
    """float32 unit vectors (C, D), and the factor that makes cosines logits, as the model has learnt it."""

    vector_CD: NDArray[np.float32]
    scale: float


def text_vectors(spec: BackboneSpec, texts: Sequence[str]) -> TextVectors:
    """Encode texts with the text tower of a model whose image tower made features; long ones are cut.

    Args:
        spec: of a backbone `st/...`.
        texts: one for each category.

    Raises:
        ConfigError: the model has no text tower.
    """
    from sentence_transformers import SentenceTransformer

    assert spec.file is not None
    with repeatable(num_threads=_THREADS, seed=0):
        model = SentenceTransformer(spec.file, device="cpu", local_files_only=True).eval()
        clip: Any = next((part for part in model.modules() if hasattr(part, "logit_scale")), None)
        if clip is None or not hasattr(clip, "text_model"):
            raise ConfigError(
                f"{spec.name} has no text tower", hint="--clip DIR: a CLIP model such as clip-ViT-B-32"
            )
        vector_CD = model.encode(
            list(texts),
            batch_size=_BATCH,
            convert_to_numpy=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        scale = min(_MOST_SCALE, float(torch.exp(clip.logit_scale.detach())))
    return TextVectors(np.asarray(vector_CD, dtype=np.float32), scale)
