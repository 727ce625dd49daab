"""Instances that really run: in namespaces of their own on Linux as root, as ordinary processes elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runctl.sandbox.call import Cloud
    from runctl.sandbox.instances.machines import Machines

__all__ = ["build"]


def build(cloud: Cloud) -> Machines:
    """The machines of a sandbox; `begin` readies them. Raises ValueError for a setting that makes no sense."""
    from runctl.sandbox.instances import making  # noqa: PLC0415 - the keeper starts without all of this

    return making.build(cloud)
