"""One place that makes torch repeatable: fixed threads, seeded, deterministic kernels, all put back after."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def repeatable(*, num_threads: int, seed: int) -> Iterator[None]:
    """Run a block so that the same inputs give the same bytes on the same machine.

    Float sums depend on how they are split, so the number of compute threads is part of the result and is
    fixed here rather than taken from the machine. The caller's settings and generator come back afterwards.

    Args:
        num_threads: compute threads inside one operation, at least 1.
        seed: seed of torch's global generators inside the block.
    """
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1; got {num_threads}")
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    # cuBLAS reads this when its first handle is made; without it deterministic mode refuses to multiply.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            torch.set_num_threads(num_threads)
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False
            torch.manual_seed(seed)
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            torch.backends.cudnn.benchmark = benchmark


def default_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
