"""Encoded authorization messages: what EC2 hides from callers, and ``sts:DecodeAuthorizationMessage`` tells."""

from __future__ import annotations

import base64
import hmac
import json
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runctl.sandbox.iam.decide import Decision
    from runctl.sandbox.iam.policy import Asked
    from runctl.sandbox.iam.principal import Principal

_SIGNED = 16  # bytes of the signature in front


def details(principal: Principal, asked: Asked, decision: Decision) -> dict[str, Any]:
    """A refusal as the decoded message has it."""
    return {
        "allowed": decision.allowed,
        "explicitDeny": decision.explicit,
        "matchedStatements": {
            "items": [
                {
                    "statementId": match.statement.sid,
                    "effect": "ALLOW" if match.statement.allows else "DENY",
                    "sourcePolicyId": match.policy.name,
                    "sourcePolicyType": match.policy.kind,
                    "actions": {"items": [{"value": text} for text in match.statement.actions.texts]},
                }
                for match in decision.matched
            ]
        },
        "failures": {"items": []},
        "context": {
            "principal": {"id": principal.user_id, "name": principal.name, "arn": principal.arn},
            "action": asked.action,
            "resource": asked.resource,
            "conditions": {
                "items": [
                    {"key": key, "values": {"items": [{"value": value} for value in values]}}
                    for key, values in sorted(asked.keys.items())
                ]
            },
        },
    }


def encode(secret: str, told: dict[str, Any]) -> str:
    """A message that only the holder of the secret can make or read."""
    packed = zlib.compress(json.dumps(told, separators=(",", ":")).encode())
    return base64.urlsafe_b64encode(_signature(secret, packed) + packed).decode().rstrip("=")


def decode(secret: str, message: str) -> str:
    """The JSON of an encoded message. Raises ValueError when it is none of ours."""
    raw = base64.urlsafe_b64decode(message + "=" * (-len(message) % 4))
    signature, packed = raw[:_SIGNED], raw[_SIGNED:]
    if not hmac.compare_digest(signature, _signature(secret, packed)):
        raise ValueError("not a message of this sandbox")
    return zlib.decompress(packed).decode()


def _signature(secret: str, packed: bytes) -> bytes:
    return hmac.digest(secret.encode(), packed, "sha256")[:_SIGNED]
