"""A refusal in the words and codes of each service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.sandbox.call import ApiError

if TYPE_CHECKING:
    from runctl.sandbox.iam.decide import Decision
    from runctl.sandbox.iam.policy import Asked
    from runctl.sandbox.iam.principal import Principal

# query services and S3 say AccessDenied, with status 403; the JSON ones AccessDeniedException, with 400
_QUERY = frozenset({"autoscaling", "elasticloadbalancing", "iam", "monitoring", "sqs", "sts"})
# services that do not tell the resource when it is `*`
_SHORT = frozenset({"budgets", "ec2", "pricing", "s3", "servicequotas"})


def sentence(service: str, principal: Principal, asked: Asked, decision: Decision) -> str:
    """Who may not do what, and which kind of policy is why."""
    resource = f'"{asked.resource}"' if service == "s3" else asked.resource
    on = "" if asked.resource == "*" and service in _SHORT else f" on resource: {resource}"
    said = f"User: {principal.arn} is not authorized to perform: {asked.action}{on}"
    if decision.explicit:
        article = "an" if decision.source[0] in "aeiou" else "a"
        return f"{said} with an explicit deny in {article} {decision.source}"
    if asked.action.startswith("sts:") and decision.source.startswith("resource"):
        return said  # a role's trust policy is nobody else's business
    return f"{said} because no {decision.source} allows the {asked.action} action"


def refusal(service: str, message: str, *, encoded: str) -> ApiError:
    """The error of a service; EC2's carries the encoded message."""
    if service == "ec2":
        text = f"You are not authorized to perform this operation. {message}. Encoded authorization failure message: {encoded}"
        return ApiError("UnauthorizedOperation", text, status=403)
    if service == "sns":
        return ApiError("AuthorizationError", message, status=403)
    if service in _QUERY:
        return ApiError("AccessDenied", message, status=403)
    return ApiError("AccessDeniedException", message, status=403 if service == "fis" else 400)
