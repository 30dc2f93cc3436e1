"""Which engine the settings ask for."""

from __future__ import annotations

from webclean.config import GeneralConfig
from webclean.engines.base import Engine
from webclean.engines.local import InlineEngine, LocalEngine, available_cores


def make_engine(config: GeneralConfig) -> Engine:
    """Ray where it is asked for; else local processes, one a core where no number is given, or none for 0.

    Raises:
        DependencyMissingError, ConfigError: as `RayEngine`.
    """
    if config.engine == "ray":
        from webclean.engines.ray import RayEngine

        return RayEngine(config.address, config.workers)
    if config.workers == 0:
        return InlineEngine()
    return LocalEngine(available_cores() if config.workers is None else config.workers)
