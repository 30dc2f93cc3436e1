"""Recompute the golden files; prints what would change and writes with --yes only.

python tests/golden/regenerate.py [--yes]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]


def somnet_losses() -> dict:
    """First 20 losses of each kind of memory on the made-up world, one thread, CPU."""
    import torch
    from nn import test_loop

    losses = {method: test_loop.first_losses(method) for method in test_loop.METHODS}
    return {"torch": torch.__version__, "losses": losses}


GOLDENS = {"somnet_losses.json": somnet_losses}


def main() -> None:
    """Compare each golden file with what the code gives now."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--yes", action="store_true", help="write the new values")
    write = parser.parse_args().yes
    for name, make in GOLDENS.items():
        path = HERE / name
        old = json.loads(path.read_text()) if path.exists() else None
        new = make()
        if new == old:
            print(f"{name}: unchanged")
            continue
        print(f"{name}: was\n{json.dumps(old, indent=1)}\nis\n{json.dumps(new, indent=1)}")
        if write:
            path.write_text(json.dumps(new, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
