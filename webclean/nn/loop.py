"""The training loop: one optimiser step after another, and everything needed to go on from any of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from webclean.errors import ArtifactInvalidError
from webclean.io import checkpoints
from webclean.io.run_dir import RunDir
from webclean.nn.somnet import BagBatch


class Learner(Protocol):
    """What the loop asks of a method; its state lives in the network."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch."""
        ...

    def batches(self, epoch: int) -> list[BagBatch]:
        """The epoch's batches, the same whenever asked."""
        ...

    def start_epoch(self, epoch: int, batches: list[BagBatch]) -> None:
        """Called once before an epoch's first step, not when resumed inside it."""
        ...

    def loss(self, batch: BagBatch, epoch: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of one step and its parts."""
        ...

    def after_step(self, epoch: int) -> None:
        """Called after the optimiser's step."""
        ...

    def end_epoch(self, epoch: int, batches: list[BagBatch]) -> dict[str, Any]:
        """What the history says of the epoch."""
        ...

    def is_over(self, epoch: int, history: list[dict[str, Any]]) -> bool:
        """Whether to stop before the last epoch."""
        ...


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How steps are made.

    Attributes:
        epochs: at most so many.
        learning_rate: of AdamW.
        memory_rate: of parameters of the memory that learn by gradient.
        weight_decay: decoupled, of the encoder's and the head's parameters; the memory has none.
        schedule: `cosine` to zero over all epochs, or `constant`.
        checkpoint_epochs: epochs between two checkpoints; one is always written at the end.
    """

    epochs: int
    learning_rate: float
    memory_rate: float = 0.1
    weight_decay: float = 0.0
    schedule: str = "cosine"
    checkpoint_epochs: int = 1


@dataclass
class Fitted:
    """A finished (or interrupted) fit.

    Attributes:
        history: one row an epoch; clocks stand under `clock` only.
        losses: the loss of each step of this call, in order.
        is_finished: False where `max_steps` ended it.
    """

    history: list[dict[str, Any]]
    losses: list[float]
    is_finished: bool


@dataclass
class _Position:
    epoch: int = 0
    step: int = 0  # inside the epoch
    is_finished: bool = False


def make_optimiser(net: nn.Module, options: LoopOptions) -> torch.optim.Optimizer:
    """AdamW over what learns by gradient; keys and value logits in a group of their own."""
    memory: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            (memory if name.startswith("memory.") else other).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": other, "lr": options.learning_rate, "peak": options.learning_rate}
    ]
    if memory:
        groups.append(
            {"params": memory, "lr": options.memory_rate, "peak": options.memory_rate, "weight_decay": 0.0}
        )
    return torch.optim.AdamW(groups, lr=options.learning_rate, weight_decay=options.weight_decay)


def fit(
    net: nn.Module,
    learner: Learner,
    options: LoopOptions,
    *,
    run: RunDir | None = None,
    checkpoint: str | None = None,
    on_step: Callable[[int, float], None] = lambda steps, loss: None,
    max_steps: int | None = None,
) -> Fitted:
    """Train, from the checkpoint where there is one, to the end or for `max_steps` steps.

    An interrupted and resumed fit gives the same losses as an unbroken one: parameters, memory, optimiser,
    torch's random state and the position inside the epoch are all saved; batches follow from the epoch.

    Args:
        net: what learns; in training mode while it does.
        learner: the method.
        run, checkpoint: where checkpoints are read and written; None for none.
        on_step: told (steps done, loss) after every step; steps that a checkpoint brought come first, in
            one call.
        max_steps: stop (and save) after so many steps of this call.

    Raises:
        ArtifactInvalidError: the checkpoint is of another network.
    """
    optimiser = make_optimiser(net, options)
    position = _Position()
    history: list[dict[str, Any]] = []
    epoch_losses: list[dict[str, float]] = []
    if run is not None and checkpoint is not None and run.exists(checkpoint):
        position, history, epoch_losses = _resume(run, checkpoint, net, optimiser)
        on_step(position.epoch * learner.steps_per_epoch + position.step, float("nan"))
    total_steps = options.epochs * learner.steps_per_epoch
    losses: list[float] = []
    net.train()
    while not position.is_finished and position.epoch < options.epochs:
        epoch, started = position.epoch, time.perf_counter()
        batches = learner.batches(epoch)
        if position.step == 0:
            learner.start_epoch(epoch, batches)
        for batch in batches[position.step :]:
            _set_rates(optimiser, options, epoch * learner.steps_per_epoch + position.step, total_steps)
            optimiser.zero_grad(set_to_none=True)
            loss, parts = learner.loss(batch, epoch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            learner.after_step(epoch)
            position.step += 1
            losses.append(float(loss.detach()))
            epoch_losses.append({"loss": losses[-1], **parts})
            on_step(1, losses[-1])
            if max_steps is not None and len(losses) == max_steps and position.step < len(batches):
                _save(run, checkpoint, net, optimiser, position, history, epoch_losses)
                return Fitted(history, losses, False)
        row = {
            "epoch": epoch,
            "steps": len(batches),
            **_means(epoch_losses),
            **learner.end_epoch(epoch, batches),
        }
        history.append({**row, "clock": {"seconds": time.perf_counter() - started}})
        stop = learner.is_over(epoch, history) or epoch + 1 == options.epochs
        position, epoch_losses = _Position(epoch + 1, 0, stop), []
        if stop or (epoch + 1) % options.checkpoint_epochs == 0 or len(losses) == max_steps:
            _save(run, checkpoint, net, optimiser, position, history, epoch_losses)
        if len(losses) == max_steps and not stop:
            return Fitted(history, losses, False)
    net.eval()
    return Fitted(history, losses, True)


def _set_rates(optimiser: torch.optim.Optimizer, options: LoopOptions, step: int, total: int) -> None:
    factor = 1.0
    if options.schedule == "cosine":
        factor = 0.5 * (1.0 + math.cos(math.pi * step / max(1, total)))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    names = sorted({name for row in rows for name in row})
    return {name: math.fsum(row.get(name, 0.0) for row in rows) / len(rows) for name in names}


def _save(
    run: RunDir | None,
    checkpoint: str | None,
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    position: _Position,
    history: list[dict[str, Any]],
    epoch_losses: list[dict[str, float]],
) -> None:
    if run is None or checkpoint is None:
        return
    moments, packed = checkpoints.pack_optimiser(optimiser)
    tensors = {f"net/{name}": value for name, value in net.state_dict().items()}
    state = {
        "epoch": position.epoch, "step": position.step, "is_finished": position.is_finished,
        "history": history, "epoch_losses": epoch_losses, "optimiser": packed,
    }  # fmt: skip
    random_state = {"random/torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        random_state["random/cuda"] = torch.cuda.get_rng_state()
    checkpoints.save_checkpoint(run, checkpoint, {**tensors, **moments, **random_state}, state)


def _resume(
    run: RunDir, checkpoint: str, net: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[_Position, list[dict[str, Any]], list[dict[str, float]]]:
    tensors, state = checkpoints.load_checkpoint(run, checkpoint)
    own = {name.partition("/")[2]: value for name, value in tensors.items() if name.startswith("net/")}
    try:
        net.load_state_dict(own)
    except RuntimeError as error:
        raise ArtifactInvalidError(
            f"{checkpoint} is of another network", context=str(error), hint="run the stage again with --force"
        ) from error
    checkpoints.unpack_optimiser(optimiser, tensors, state["optimiser"])
    torch.set_rng_state(tensors["random/torch"])
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])
    position = _Position(state["epoch"], state["step"], state["is_finished"])
    return position, list(state["history"]), list(state["epoch_losses"])
