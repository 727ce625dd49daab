"""What a failure of AWS means: the service's error code first, then the exception's class, then its words.

``translate`` gives the error of our catalogue, ``failure_of`` says whether the same call is worth another attempt.
Codes are those of the EC2, S3, STS and Systems Manager references ("Common errors" and each action's own); what
botocore raises for broken connections was measured against a server that breaks them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.core.retry import Failure

if TYPE_CHECKING:
    from collections.abc import Collection

VENDOR_CODE = "aws"  # the key of an error's context that holds the service's own code

_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "429",
    }
)
_TRANSIENT = frozenset(
    {
        "ConditionalRequestConflict",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "OperationAborted",
        "PriorRequestNotComplete",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Unavailable",
        "408",
    }
)
# The service did not answer with this, or did so before it did anything.
_NEVER_TOOK_EFFECT = ("ConnectTimeoutError", "EndpointConnectionError", "ProxyConnectionError")

# service code → our code
_CODES = {
    "AccessDenied": "aws-denied",
    "AccessDeniedException": "aws-denied",
    "AllAccessDisabled": "aws-denied",
    "Forbidden": "aws-denied",
    "403": "aws-denied",
    "NotAuthorized": "aws-denied",
    "UnauthorizedOperation": "aws-denied",
    "AuthFailure": "aws-credentials-invalid",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": "aws-spot-role",
    "ExpiredToken": "aws-credentials-expired",
    "ExpiredTokenException": "aws-credentials-expired",
    "RequestExpired": "aws-clock-skew",
    "RequestTimeTooSkewed": "aws-clock-skew",
    "InvalidAccessKeyId": "aws-credentials-invalid",
    "InvalidClientTokenId": "aws-credentials-invalid",
    "InvalidSignatureException": "aws-credentials-invalid",
    "InvalidToken": "aws-credentials-invalid",
    "MissingAuthenticationToken": "aws-credentials-invalid",
    "SignatureDoesNotMatch": "aws-credentials-invalid",
    "UnrecognizedClientException": "aws-credentials-invalid",
    "Blocked": "aws-region-closed",
    "OptInRequired": "aws-region-closed",
    "PendingVerification": "aws-region-closed",
    "InsufficientCapacity": "aws-no-capacity",
    "InsufficientCapacityOnHost": "aws-no-capacity",
    "InsufficientHostCapacity": "aws-no-capacity",
    "InsufficientInstanceCapacity": "aws-no-capacity",
    "InsufficientReservedInstanceCapacity": "aws-no-capacity",
    "SpotMaxPriceTooLow": "aws-no-capacity",
    "UnfulfillableCapacity": "aws-no-capacity",
    "Unsupported": "aws-type-not-here",
    "InstanceLimitExceeded": "aws-quota",
    "MaxSpotInstanceCountExceeded": "aws-quota",
    "VcpuLimitExceeded": "aws-quota",
    "VolumeLimitExceeded": "aws-quota",
    "IdempotentParameterMismatch": "aws-token-reused",
    "IncorrectInstanceState": "aws-instance-state",
    "IncorrectState": "aws-instance-state",
    "InvalidInstanceID.Malformed": "aws-instance-unknown",
    "InvalidInstanceID.NotFound": "aws-instance-unknown",
    "InvalidInstanceType": "aws-type-unknown",
    "InvalidInstanceType.NotFound": "aws-type-unknown",
    "InvalidAMIID.Malformed": "aws-image-unknown",
    "InvalidAMIID.NotFound": "aws-image-unknown",
    "InvalidAMIID.Unavailable": "aws-image-unknown",
    "ParameterNotFound": "aws-image-unknown",
    "InvalidGroup.NotFound": "aws-network",
    "InvalidGroupId.Malformed": "aws-network",
    "InvalidSubnet": "aws-network",
    "InvalidSubnetID.NotFound": "aws-network",
    "MissingInput": "aws-network",
    "VPCIdNotSpecified": "aws-network",
    "NoSuchBucket": "aws-bucket-missing",
    "AuthorizationHeaderMalformed": "aws-bucket-elsewhere",
    "PermanentRedirect": "aws-bucket-elsewhere",
    "301": "aws-bucket-elsewhere",
}
# (service code, words in the message) → our code, before the table above; RunInstances says much in few codes
_WORDED = (
    ("UnauthorizedOperation", "iam:PassRole", "aws-pass-role"),
    ("AccessDenied", "iam:PassRole", "aws-pass-role"),
    ("InvalidParameterValue", "Instance Profile", "aws-instance-profile"),
    ("InvalidParameterValue", "instance profile", "aws-instance-profile"),
    ("NoSuchEntity", "nstance profile", "aws-instance-profile"),
    ("NoSuchEntity", "nstance Profile", "aws-instance-profile"),
    ("UnsupportedOperation", "Spot Instance", "aws-spot-cannot-stop"),
    ("InvalidSignatureException", "Signature expired", "aws-clock-skew"),
    ("InvalidSignatureException", "Signature not yet current", "aws-clock-skew"),
    ("SignatureDoesNotMatch", "Signature expired", "aws-clock-skew"),
    ("SignatureDoesNotMatch", "Signature not yet current", "aws-clock-skew"),
)
# class of botocore's exception → our code; the first of its bases that stands here decides
_CLASSES = {
    "CredentialRetrievalError": "aws-credentials-broken",
    "NoCredentialsError": "aws-no-credentials",
    "PartialCredentialsError": "aws-credentials-broken",
    "SSOError": "aws-sso-expired",
    "TokenRetrievalError": "aws-sso-expired",
    "LoginError": "aws-sso-expired",
    "NoRegionError": "aws-no-region",
    "InvalidRegionError": "aws-region-unknown",
    "SSLError": "aws-tls",
    "ProxyConnectionError": "aws-proxy",
    "EndpointConnectionError": "aws-unreachable",
    "ConnectionError": "aws-unreachable",
    "HTTPClientError": "aws-unreachable",
    "IncompleteReadError": "aws-unreachable",
    "ResponseStreamingError": "aws-unreachable",
    "ReadTimeoutError": "aws-unreachable",
    "ResponseParserError": "aws-unreachable",
    "BotoCoreError": "aws-unexpected",
}

_DENIED = re.compile(
    r"(?:User: (?P<who>\S+) )?is not authorized to perform: (?P<action>[\w-]+:\w+)"
    r"(?: on resource: (?P<resource>\S+))?(?: because (?P<because>[^.]+))?"
)
_DENIALS = ("aws-denied", "aws-pass-role", "aws-spot-role")  # whose words say who may not do what
_ENCODED = re.compile(r"Encoded authorization failure message: ([\w\-+/=]+)")
_REGION_EXPECTED = re.compile(r"expecting '([a-z0-9-]+)'")
# The IAM action behind an operation, where it is not the operation's own name.
_ACTIONS = {
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListParts": "s3:ListMultipartUploadParts",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:UploadPart": "s3:PutObject",
}
_PREFIXES = {"service-quotas": "servicequotas"}


def action_of(service: str, operation: str) -> str:
    """An operation as IAM calls it: ``ec2`` and ``run_instances`` give ``ec2:RunInstances``. Pure."""
    name = "".join(part.capitalize() for part in operation.split("_"))
    said = f"{_PREFIXES.get(service, service)}:{name or '*'}"
    return _ACTIONS.get(said, said)


def code_of(error: BaseException | None) -> str:
    """The service's own code behind ``error`` (ours or botocore's), as ``NoSuchKey`` or ``404``; empty without one."""
    if isinstance(error, RunctlError):
        return str(error.context.get(VENDOR_CODE, ""))
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return ""
    return str(response.get("Error", {}).get("Code", ""))


def _status(error: BaseException) -> int:
    response = getattr(error, "response", None)
    meta = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return int(meta.get("HTTPStatusCode", 0))


def _message(error: BaseException) -> str:
    response = getattr(error, "response", None)
    told = response.get("Error", {}).get("Message") if isinstance(response, dict) else None
    return str(told or error)


def _bucket(error: BaseException) -> str:
    """The bucket that S3 names beside a refusal; empty where it names none."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("BucketName", "")) if isinstance(response, dict) else ""


def in_short(error: BaseException) -> str:
    """What a failure is called: the service's code, or the exception's class."""
    return code_of(error) or type(error).__name__


def failure_of(error: BaseException, *, once: bool = False, repeat_on: Collection[str] = ()) -> Failure:
    """Whether the same call is worth another attempt. Pure.

    Args:
        error: what the attempt raised.
        once: the call must not take effect twice; what may have taken effect is then permanent.
        repeat_on: codes that are transient for this caller.
    """
    code = code_of(error)
    if code in _THROTTLED:
        return Failure.THROTTLED
    if code in repeat_on:
        return Failure.TRANSIENT
    if once and not _is_a(error, *_NEVER_TOOK_EFFECT):
        return Failure.PERMANENT
    if code in _TRANSIENT or (code and code not in _CODES and _broken(_status(error))):
        return Failure.TRANSIENT
    if not code and _ours(error) == "aws-unreachable":
        return Failure.TRANSIENT
    return Failure.PERMANENT


def may_have_happened(error: BaseException) -> bool:
    """Whether an attempt that failed like this may have taken effect all the same: its answer is what was lost. Pure."""
    broken = _ours(error) in ("aws-service-broken", "aws-unreachable")
    return broken and not _is_a(error, *_NEVER_TOOK_EFFECT)


def translate(error: BaseException, *, action: str, region: str, profile: str) -> RunctlError | None:
    """The error of our catalogue that ``error`` means; None for what neither AWS nor the way to it raised. Pure.

    Args:
        error: what botocore raised, or an error that is ours already.
        action: what was asked for, as ``ec2:RunInstances``.
        region: where.
        profile: the profile that was used, empty for the usual one.
    """
    if isinstance(error, RunctlError):
        return error
    code = _ours(error)
    if code is None:
        return None
    message = _message(error)
    facts: dict[str, Any] = {
        "action": action,
        "region": region,
        "profile": profile or "default",
        "detail": _ENCODED.sub("", message).strip().rstrip(".") or type(error).__name__,
    }
    if code in _DENIALS:
        facts |= _denial(message, action)
    if vendor := code_of(error):
        facts[VENDOR_CODE] = vendor
    if bucket := _bucket(error):
        facts |= {"bucket": bucket, "detail": f"{facts['detail']}: {bucket}"}
    if expected := _REGION_EXPECTED.search(message):
        facts["expected"] = expected.group(1)
    return known(code, **facts)


def encoded_message(error: BaseException) -> str:
    """The encoded reason in EC2's refusal, for ``sts:DecodeAuthorizationMessage``; empty when there is none. Pure."""
    found = _ENCODED.search(_message(error)) if code_of(error) else None
    return found.group(1) if found else ""


def with_decision(error: RunctlError, decoded: str) -> RunctlError:
    """``error`` with the decoded reason of a refusal: who, which action, on what. As it is when there is none. Pure."""
    try:
        decision = json.loads(decoded)
        context = decision["context"]
        facts = {
            "action": context["action"],
            "resource": context["resource"],
            "who": context.get("principal", {}).get("arn") or error.context.get("who", "?"),
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return error
    why = "a policy forbids it" if decision.get("explicitDeny") else "no policy allows it"
    return known(error.code, **{**error.context, **facts, "because": why})


def _ours(error: BaseException) -> str | None:
    """The code of our catalogue; None for what is not of AWS."""
    code = code_of(error)
    return _of_class(error) if not code else _of_code(code, _message(error), _status(error))


def _of_class(error: BaseException) -> str | None:
    if _is_a(error, "SSLError") and "certificate" not in str(error).lower():
        return "aws-unreachable"  # the connection broke inside TLS
    names = [each.__name__ for each in type(error).__mro__]
    return next((_CLASSES[name] for name in names if name in _CLASSES), None)


def _of_code(code: str, message: str, status: int) -> str:
    for vendor, words, ours in _WORDED:
        if code == vendor and words in message:
            return ours
    if code in _CODES:
        return _CODES[code]
    if code in _THROTTLED:
        return "aws-throttled"
    return "aws-service-broken" if code in _TRANSIENT or _broken(status) else "aws-refused"


def _broken(status: int) -> bool:
    """Whether an HTTP status is a failure of the service; 501 is its word that it never can."""
    return status >= 500 and status != 501


def _is_a(error: BaseException, *names: str) -> bool:
    return any(each.__name__ in names for each in type(error).__mro__)


def _denial(message: str, action: str) -> dict[str, str]:
    """Who may not do what, as far as the message tells."""
    found = _DENIED.search(message)
    told = {name: value for name, value in found.groupdict().items() if value} if found else {}
    return {
        "who": "the caller",
        "resource": "*",
        "because": "no policy allows it, or one forbids it",
        "action": action,
        **told,
    }
