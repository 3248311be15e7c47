"""The freezer of control groups version 1, whose frozen processes cannot even be killed.

A container runtime freezes a container's processes for a moment while it changes their limits. When a node is killed
in just that moment, nobody is left to thaw them, and the engine waits for ever for the node to end.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/fs/cgroup/freezer")

_FROZEN = ("FROZEN", "FREEZING")


def thaw(container_id: str, *, root: Path = ROOT) -> int:
    """How many groups of a container, and of the containers in it, were frozen; they are thawed now.

    Args:
        container_id: The engine's full id of the container.
        root: Where the freezer's groups are; none are there with control groups version 2, which kill what is frozen.
    """
    thawed = 0
    for group in root.glob(f"**/*{container_id}*"):
        for state in group.glob("**/freezer.state"):
            try:
                if state.read_text().strip() in _FROZEN:
                    state.write_text("THAWED")
                    thawed += 1
            except OSError:  # the group has just ended, or is not ours to change
                continue
    return thawed
