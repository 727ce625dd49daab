"""AWS Systems Manager of the sandbox: its API, and the gateway to which the agents of the instances connect."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runctl.sandbox.call import Cloud, Service


def build(cloud: Cloud) -> Service:
    """SSM for one sandbox. Raises ValueError for a setting it cannot use."""
    from runctl.sandbox.ssm.service import Ssm  # noqa: PLC0415 - the guest imports our websocket and none of the rest

    return Ssm(cloud)
