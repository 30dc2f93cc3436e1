"""A stand-in for the sentence encoder, for runs that have to end the same way everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Letters:
    """A text points at its first letter."""

    identity = "letters"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.eye(26, dtype=np.float32)[[ord(text[0].lower()) % 26 for text in texts]]

    def close(self) -> None:
        pass
