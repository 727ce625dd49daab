"""What AWS says and what we make of it: recorded samples through the table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore import exceptions
from botocore.parsers import ResponseParserError

from runctl.aws import errors
from runctl.core.catalogue import CATALOGUE
from runctl.core.errors import RunctlError
from runctl.core.retry import Failure


def refusal(code: str, message: str = "words", status: int = 400) -> exceptions.ClientError:
    return exceptions.ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Op"
    )


def told(error: BaseException, **more: Any) -> RunctlError:
    found = errors.translate(
        error, **{"action": "ec2:RunInstances", "region": "us-east-1", "profile": "", **more}
    )
    assert found is not None
    return found


SAMPLES = [
    (
        refusal("InsufficientInstanceCapacity", "no capacity in us-east-1a", 500),
        "aws-no-capacity",
        "permanent",
    ),
    (refusal("MaxSpotInstanceCountExceeded"), "aws-quota", "permanent"),
    (
        refusal("VcpuLimitExceeded", "more vCPU capacity than your current vCPU limit of 0"),
        "aws-quota",
        "permanent",
    ),
    (
        refusal("Unsupported", "not supported in your requested Availability Zone"),
        "aws-type-not-here",
        "permanent",
    ),
    (refusal("RequestLimitExceeded", status=503), "aws-throttled", "throttled"),
    (refusal("SlowDown", status=503), "aws-throttled", "throttled"),
    (refusal("ThrottlingException"), "aws-throttled", "throttled"),
    (refusal("503", "Service Unavailable", 503), "aws-service-broken", "transient"),
    (refusal("502", "<html>", 502), "aws-service-broken", "transient"),
    (refusal("InternalError", status=500), "aws-service-broken", "transient"),
    (refusal("SomethingNew", status=500), "aws-service-broken", "transient"),
    (refusal("SomethingNew"), "aws-refused", "permanent"),
    (refusal("NotImplemented", status=501), "aws-refused", "permanent"),
    (refusal("UnauthorizedOperation", status=403), "aws-denied", "permanent"),
    (
        refusal(
            "UnauthorizedOperation", "is not authorized to perform: iam:PassRole on resource: arn:x", 403
        ),
        "aws-pass-role",
        "permanent",
    ),
    (refusal("AuthFailure.ServiceLinkedRoleCreationNotPermitted"), "aws-spot-role", "permanent"),
    (refusal("ExpiredToken"), "aws-credentials-expired", "permanent"),
    (refusal("RequestTimeTooSkewed", status=403), "aws-clock-skew", "permanent"),
    (
        refusal("SignatureDoesNotMatch", "Signature expired: 2026 is now earlier than"),
        "aws-clock-skew",
        "permanent",
    ),
    (
        refusal("SignatureDoesNotMatch", "The request signature we calculated"),
        "aws-credentials-invalid",
        "permanent",
    ),
    (refusal("InvalidClientTokenId", status=403), "aws-credentials-invalid", "permanent"),
    (
        refusal("InvalidParameterValue", "Invalid IAM Instance Profile name"),
        "aws-instance-profile",
        "permanent",
    ),
    (refusal("InvalidParameterValue", "Value (x) for parameter y is invalid"), "aws-refused", "permanent"),
    (refusal("VPCIdNotSpecified", "No default VPC for this user"), "aws-network", "permanent"),
    (refusal("IdempotentParameterMismatch"), "aws-token-reused", "permanent"),
    (
        refusal("UnsupportedOperation", "You can't stop the Spot Instance 'i-1'"),
        "aws-spot-cannot-stop",
        "permanent",
    ),
    (refusal("NoSuchBucket", status=404), "aws-bucket-missing", "permanent"),
    (refusal("OptInRequired"), "aws-region-closed", "permanent"),
    (exceptions.NoCredentialsError(), "aws-no-credentials", "permanent"),
    (exceptions.UnauthorizedSSOTokenError(), "aws-sso-expired", "permanent"),
    (exceptions.TokenRetrievalError(provider="sso", error_msg="x"), "aws-sso-expired", "permanent"),
    (exceptions.NoRegionError(), "aws-no-region", "permanent"),
    (exceptions.EndpointConnectionError(endpoint_url="https://x"), "aws-unreachable", "transient"),
    (exceptions.ConnectTimeoutError(endpoint_url="https://x"), "aws-unreachable", "transient"),
    (exceptions.ReadTimeoutError(endpoint_url="https://x"), "aws-unreachable", "transient"),
    (exceptions.ConnectionClosedError(endpoint_url="https://x"), "aws-unreachable", "transient"),
    (exceptions.ResponseStreamingError(error="cut"), "aws-unreachable", "transient"),
    (ResponseParserError("not XML"), "aws-unreachable", "transient"),
    (
        exceptions.SSLError(endpoint_url="https://x", error="certificate verify failed: self-signed"),
        "aws-tls",
        "permanent",
    ),
    (exceptions.SSLError(endpoint_url="https://x", error="EOF occurred"), "aws-unreachable", "transient"),
    (exceptions.ProxyConnectionError(proxy_url="http://p"), "aws-proxy", "permanent"),
    (exceptions.ParamValidationError(report="Nonsense"), "aws-unexpected", "permanent"),
]


@pytest.mark.parametrize(
    ("error", "code", "failure"), SAMPLES, ids=[f"{s[1]}-{i}" for i, s in enumerate(SAMPLES)]
)
def test_a_failure_is_translated_and_judged(error: BaseException, code: str, failure: str) -> None:
    made = told(error)
    assert made.code == code
    assert errors.failure_of(error) == Failure(failure)
    assert "?" not in made.what + made.why
    # what may still pass says so, and nothing else does
    assert made.transient == (failure != "permanent" or code in ("aws-no-capacity", "aws-type-not-here"))


def test_every_row_of_the_table_is_a_code_of_the_catalogue() -> None:
    rows = {*errors._CODES.values(), *errors._CLASSES.values(), *(ours for _, _, ours in errors._WORDED)}
    assert rows <= set(CATALOGUE)
    assert not errors._THROTTLED & set(errors._CODES)


def test_a_bucket_elsewhere_names_its_region() -> None:
    words = "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'"
    assert "eu-west-1" in told(refusal("AuthorizationHeaderMalformed", words)).why


def test_only_a_refusal_speaks_of_who_may_not() -> None:
    assert {"who", "resource", "because"} <= set(told(refusal("AccessDenied")).context)
    assert not {"who", "resource", "because"} & set(told(refusal("NoSuchBucket")).context)


def test_what_is_not_of_aws_is_left_alone() -> None:
    assert errors.translate(TypeError("ours"), action="a", region="", profile="") is None
    assert errors.failure_of(TypeError("ours")) is Failure.PERMANENT


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (exceptions.EndpointConnectionError(endpoint_url="https://x"), Failure.TRANSIENT),
        (exceptions.ReadTimeoutError(endpoint_url="https://x"), Failure.PERMANENT),
        (refusal("InternalError", status=500), Failure.PERMANENT),
        (refusal("ThrottlingException"), Failure.THROTTLED),
    ],
)
def test_a_call_that_must_not_happen_twice_is_only_repeated_when_it_never_happened(
    error: BaseException, failure: Failure
) -> None:
    assert errors.failure_of(error, once=True) is failure


def test_a_decoded_refusal_says_who_what_and_why() -> None:
    error = told(refusal("UnauthorizedOperation", "no. Encoded authorization failure message: abc", 403))
    decision = {
        "allowed": False,
        "explicitDeny": True,
        "context": {
            "principal": {"arn": "arn:aws:iam::1:user/ana"},
            "action": "ec2:CreateTags",
            "resource": "arn:aws:ec2:us-east-1:1:volume/*",
        },
    }
    made = errors.with_decision(error, json.dumps(decision))
    assert made.what == "arn:aws:iam::1:user/ana may not do ec2:CreateTags"
    assert made.why == "on arn:aws:ec2:us-east-1:1:volume/*: a policy forbids it"
    for broken in ("", "[]", "{}", "null", '{"context": null}', '{"context": {"action": 1}}'):
        assert errors.with_decision(error, broken) is error


@pytest.mark.parametrize(
    ("service", "operation", "action"),
    [
        ("ec2", "run_instances", "ec2:RunInstances"),
        ("s3", "head_object", "s3:GetObject"),
        ("s3", "create_multipart_upload", "s3:PutObject"),
        ("service-quotas", "get_service_quota", "servicequotas:GetServiceQuota"),
        ("sts", "get_caller_identity", "sts:GetCallerIdentity"),
    ],
)
def test_operations_have_their_iam_names(service: str, operation: str, action: str) -> None:
    assert errors.action_of(service, operation) == action
