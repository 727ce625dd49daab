"""RunPod of the sandbox: its REST API (v2) and its GraphQL, over pods that run and have a real sshd.

Below the front's `/runpod`: `/runpod/v2/...` and `/runpod/graphql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runctl.sandbox.call import Cloud, Service

__all__ = ["api_key", "build"]


def api_key(secret: str) -> str:
    """The RunPod API key of the sandbox whose AWS secret key is this."""
    import hashlib  # noqa: PLC0415 - light commands import this package for the name alone

    return "rpa_" + hashlib.sha256(b"runpod/" + secret.encode()).hexdigest()[:40].upper()


def build(cloud: Cloud) -> Service:
    """RunPod for one sandbox."""
    from runctl.sandbox.runpod.service import RunPod  # noqa: PLC0415 - as above

    return RunPod(cloud)
