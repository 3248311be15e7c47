"""kind, by its own binary: one function per command that is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from slipway import shell

# kind itself waits for nothing here: what must be ready is waited for by name, later.
CREATE_TIMEOUT = 300.0


def create(
    kind: Path,
    *,
    name: str,
    image: str,
    config: Path,
    kubeconfig: Path,
    env: Mapping[str, str],
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Make a cluster; what was made of it stays when that fails, as evidence.

    Raises:
        CommandFailed: kind failed, or did not end in time.
    """
    shell.run(
        [kind, "create", "cluster", "--retain", "--name", name, "--image", image, "--config", config, "--kubeconfig", kubeconfig],
        env=env,
        timeout=CREATE_TIMEOUT,
        on_line=on_line,
    )


def delete(kind: Path, *, name: str, kubeconfig: Path, env: Mapping[str, str]) -> None:
    """Remove a cluster; one that is not there is fine.

    Raises:
        CommandFailed: kind failed.
    """
    shell.run([kind, "delete", "cluster", "--name", name, "--kubeconfig", kubeconfig], env=env, timeout=120)


def export_kubeconfig(kind: Path, *, name: str, kubeconfig: Path, env: Mapping[str, str]) -> None:
    """Write the cluster admin's kubeconfig again.

    Raises:
        CommandFailed: There is no such cluster, or it has none to give.
    """
    shell.run([kind, "export", "kubeconfig", "--name", name, "--kubeconfig", kubeconfig], env=env, timeout=60)


def export_logs(kind: Path, *, name: str, folder: Path, env: Mapping[str, str]) -> None:
    """Write the node's journal and its containers' logs into a folder, as far as they can be had."""
    shell.run([kind, "export", "logs", folder, "--name", name], env=env, timeout=120, check=False)
