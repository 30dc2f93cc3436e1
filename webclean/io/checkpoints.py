"""Checkpoints as one safetensors file each: tensors, and the rest of the state as JSON in its header.

One file is written atomically, so a checkpoint is there in full or not at all; nothing is pickled, so a
checkpoint from elsewhere cannot run code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from webclean.errors import ArtifactInvalidError
from webclean.io.run_dir import RunDir

_STATE = "state"  # the only key of the header: with several their order would differ from run to run


def save_checkpoint(run: RunDir, rel: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able state atomically to one file.

    Raises:
        StorageFullError: no space is left; the checkpoint before stays.
        ValueError: the state holds a number that is not finite.
    """
    text = json.dumps(state, sort_keys=True, allow_nan=False)
    run.write_bytes(rel, save(_flat(tensors), metadata={_STATE: text}))


def load_checkpoint(run: RunDir, rel: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote, on the CPU.

    Raises:
        ArtifactMissingError: no such file.
        ArtifactInvalidError: not a checkpoint, or cut short.
    """
    data = run.read_bytes(rel)
    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        return tensors, dict(json.loads(header["__metadata__"][_STATE]))
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArtifactInvalidError(
            f"{rel} is not a checkpoint: {error}", context=run.url, hint="remove it and run the stage again"
        ) from error


def save_weights(run: RunDir, rel: str, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors alone, atomically; the same tensors give the same bytes."""
    run.write_bytes(rel, save(_flat(tensors)))


def load_weights(run: RunDir, rel: str) -> dict[str, Tensor]:
    """Read a safetensors file on the CPU.

    Raises:
        ArtifactMissingError, ArtifactInvalidError: as `load_checkpoint`.
    """
    try:
        return dict(load(run.read_bytes(rel)))
    except SafetensorError as error:
        raise ArtifactInvalidError(f"{rel} is not a safetensors file: {error}", context=run.url) from error


def _flat(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Sorted, own storage, on the CPU: safetensors refuses shared memory and other layouts.
    return {name: tensors[name].detach().cpu().clone().contiguous() for name in sorted(tensors)}


def pack_optimiser(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as named tensors and JSON: moments by parameter number, settings by group."""
    whole = optimiser.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, entry in whole["state"].items():
        for name, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser/{index}/{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    return tensors, {"groups": whole["param_groups"], "numbers": numbers}


def unpack_optimiser(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], packed: Mapping[str, Any]
) -> None:
    """Put back what `pack_optimiser` took.

    Raises:
        ArtifactInvalidError: the optimiser has other parameters than the packed one.
    """
    state: dict[int, dict[str, Any]] = {int(i): dict(values) for i, values in packed["numbers"].items()}
    for key, value in tensors.items():
        kind, _, rest = key.partition("/")
        if kind == "optimiser":
            index, _, name = rest.partition("/")
            state.setdefault(int(index), {})[name] = value
    groups = [
        {**own, **{k: tuple(v) if isinstance(own.get(k), tuple) else v for k, v in saved.items()}}
        for own, saved in zip(optimiser.state_dict()["param_groups"], packed["groups"], strict=False)
    ]
    try:
        optimiser.load_state_dict(cast(Any, {"state": state, "param_groups": groups}))
    except (ValueError, KeyError) as error:
        raise ArtifactInvalidError(f"the checkpoint is of another optimiser: {error}") from error
