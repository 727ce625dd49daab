"""The smaller services: a table of what their parameters name. What is not in it is asked on ``*``.

In moto's thread: keys and secrets are looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.sandbox.iam.needs.need import Need, known, request_tags, resource_tags, tags_of
from runctl.sandbox.iam.policy import BadPolicy, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.iam.policy import Policy

# credential scope -> prefix of the service's actions, where they differ
PREFIXES = {"monitoring": "cloudwatch", "tagging": "tag"}
# service -> (parameter, what it names; REGION and ACCOUNT are filled in); the first parameter given counts
NAMED: dict[str, tuple[tuple[str, str], ...]] = {
    "autoscaling": (
        ("AutoScalingGroupName", "autoscaling:REGION:ACCOUNT:autoScalingGroup:*:autoScalingGroupName/{}"),
        (
            "LaunchConfigurationName",
            "autoscaling:REGION:ACCOUNT:launchConfiguration:*:launchConfigurationName/{}",
        ),
    ),
    "monitoring": (
        ("AlarmNames", "cloudwatch:REGION:ACCOUNT:alarm:{}"),
        ("AlarmName", "cloudwatch:REGION:ACCOUNT:alarm:{}"),
        ("DashboardName", "cloudwatch::ACCOUNT:dashboard/{}"),
    ),
    "ecr": (
        ("repositoryName", "ecr:REGION:ACCOUNT:repository/{}"),
        ("repositoryNames", "ecr:REGION:ACCOUNT:repository/{}"),
    ),
    "events": (("Rule", "events:REGION:ACCOUNT:rule/{}"), ("Name", "events:REGION:ACCOUNT:rule/{}")),
    "fis": (("id", "fis:REGION:ACCOUNT:experiment/{}"),),
    "kms": (("KeyId", "kms:REGION:ACCOUNT:key/{}"),),
    "logs": (("logGroupName", "logs:REGION:ACCOUNT:log-group:{}:log-stream:"),),
    "secretsmanager": (
        ("SecretId", "secretsmanager:REGION:ACCOUNT:secret:{}"),
        ("Name", "secretsmanager:REGION:ACCOUNT:secret:{}"),
    ),
    "servicequotas": (("QuotaCode", "servicequotas:REGION:ACCOUNT:ec2/{}"),),
    "sns": (("TopicArn", "{}"), ("TargetArn", "{}"), ("Name", "sns:REGION:ACCOUNT:{}")),
    "sqs": (("QueueUrl", "sqs:REGION:ACCOUNT:{}"), ("QueueName", "sqs:REGION:ACCOUNT:{}")),
    "ec2-instance-connect": (("InstanceId", "ec2:REGION:ACCOUNT:instance/{}"),),
}
# calls whose parameters name something, but which have no resource-level permissions
WIDE = {
    "ecr": ("GetAuthorizationToken",),
    "kms": ("CreateKey", "ListKeys", "ListAliases"),
    "servicequotas": ("GetAWSDefaultServiceQuota",),
    "monitoring": ("PutMetricData", "GetMetricData", "GetMetricStatistics", "ListMetrics"),
    "autoscaling": (
        "DescribeAutoScalingGroups",
        "DescribeLaunchConfigurations",
        "DescribeAutoScalingInstances",
    ),
}


def needs(
    service: str,
    action: str,
    given: dict[str, Any],
    *,
    region: str,
    account: str,
    backend: Callable[[], Any],
) -> list[Need]:
    """The permissions that a call needs. ``backend`` gives moto's records of the service."""
    name = f"{PREFIXES.get(service, service)}:{action}"
    if service == "budgets":
        return [Need("budgets:ViewBudget" if action.startswith("Describe") else "budgets:ModifyBudget")]
    keys = request_tags(tags_of(_tags(given)))
    texts = [] if action in WIDE.get(service, ()) else _named(service, given)
    arns = [text.replace("REGION", region).replace("ACCOUNT", account) for text in texts]
    if service == "kms":
        return [_key(name, arn, given, backend) for arn in arns] or [Need(name, keys=keys)]
    if service == "secretsmanager":
        return [_secret(name, arn, given, backend) for arn in arns] or [Need(name, keys=keys)]
    if service == "logs" and given.get("logStreamName"):
        arns = [f"{arn}{given['logStreamName']}" for arn in arns]
    if service == "ec2-instance-connect":
        keys = {**keys, **known(ec2__osuser=given.get("InstanceOSUser"))}
    return [Need(name, arn, keys) for arn in arns] or [Need(name, keys=keys)]


def _tags(given: dict[str, Any]) -> list[dict[str, str]]:
    listed = given.get("Tags") or given.get("tags") or []
    if isinstance(listed, dict):
        return [{"Key": key, "Value": value} for key, value in listed.items()]
    return [
        {
            "Key": each.get("Key") or each.get("TagKey") or "",
            "Value": each.get("Value") or each.get("TagValue") or "",
        }
        for each in listed
    ]


def _named(service: str, given: dict[str, Any]) -> list[str]:
    for parameter, template in NAMED.get(service, ()):
        value = given.get(parameter)
        texts = value if isinstance(value, list) else [value]
        if value:
            return [_filled(template, str(text)) for text in texts]
    return []


def _filled(template: str, text: str) -> str:
    if text.startswith("arn:"):
        return text
    text = text.rpartition("/")[2] if text.startswith(("http://", "https://")) else text
    return "arn:aws:" + template.format(text)


def _key(name: str, arn: str, given: dict[str, Any], backend: Callable[[], Any]) -> Need:
    """A KMS key, by id, ARN or alias; its own policy has to allow the call."""
    asked = str(given.get("KeyId", ""))
    found = backend()
    key_id = found.get_key_id(asked)
    if asked.rpartition(":")[2].startswith("alias/"):
        key_id = found.get_key_id_from_alias(asked.rpartition(":")[2]) or ""
    key = found.keys.get(key_id)
    if key is None:
        return Need(name, arn)
    policy = _policy(key.policy)
    return Need(name, str(key.arn), {}, policy, must=policy is not None)


def _policy(text: str) -> Policy | None:
    try:
        return parse(text, "resource")
    except BadPolicy:  # moto takes anything; what nobody can read leaves the key to the callers' own policies
        return None


def _secret(name: str, arn: str, given: dict[str, Any], backend: Callable[[], Any]) -> Need:
    """A secret, whose ARN ends in six letters that its name does not have."""
    asked = str(given.get("SecretId") or given.get("Name") or "")
    secret = next((each for each in backend().secrets.values() if asked in (each.name, each.arn)), None)
    if secret is None:
        return Need(name, arn)
    return Need(
        name, str(secret.arn), resource_tags(tags_of(secret.tags or ()), "secretsmanager:resourcetag")
    )
