"""``SimulatePrincipalPolicy`` and its like: the decisions of the guard, told without anything being done."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.sandbox.call import ApiError
from runctl.sandbox.iam.answers import members, rows
from runctl.sandbox.iam.decide import Decision, Grants, Match, decide
from runctl.sandbox.iam.policy import Asked, BadPolicy, Policy, named, parse
from runctl.sandbox.iam.principal import Principal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runctl.sandbox.iam.identities import Identities, Known
    from runctl.sandbox.iam.needs.need import Values
    from runctl.sandbox.s3.xml import Value

PAGE = 100
_ACTION = re.compile(r"[a-z0-9-]+:[A-Za-z0-9*]+", re.IGNORECASE)
_SPACE = re.compile(r"[\s,]*")
# the kinds of resources as templates name them; an action without one of these is told with `*`
_TEMPLATES = (
    ("arn:aws:s3:::", "/", "arn:${Partition}:s3:::${BucketName}/${KeyName}"),
    ("arn:aws:s3:::", "", "arn:${Partition}:s3:::${BucketName}"),
    ("arn:aws:iam::", ":role/", "arn:${Partition}:iam::${Account}:role/${RoleNameWithPath}"),
    ("arn:aws:iam::", ":user/", "arn:${Partition}:iam::${Account}:user/${UserNameWithPath}"),
    ("arn:aws:ssm:", ":document/", "arn:${Partition}:ssm:${Region}:${Account}:document/${DocumentName}"),
    ("arn:aws:ssm:", ":parameter/", "arn:${Partition}:ssm:${Region}:${Account}:parameter/${ParameterNameWithoutLeadingSlash}"),
    ("arn:aws:ec2:", ":instance/", "arn:${Partition}:ec2:${Region}:${Account}:instance/${InstanceId}"),
)  # fmt: skip


def simulate(who: Identities, form: dict[str, str], *, principal: bool) -> dict[str, Value]:
    """The result of a simulation: of a principal's policies, or only of those in the call.

    Raises:
        ApiError: NoSuchEntity, InvalidInput, PolicyEvaluationException's like for documents that cannot be read.
    """
    source = _source(who, form.get("PolicySourceArn", "")) if principal else None
    given = _documents(form, "PolicyInputList", "identity")
    if not principal and not given:
        raise _invalid("policyInputList", "Member must not be null")
    limits = _documents(form, "PermissionsBoundaryPolicyInputList", "identity")
    own = source.grants if source is not None else Grants()
    grants = Grants((*own.identity, *given), limits or own.boundary)
    caller = _caller(who, form.get("CallerArn", ""), source)
    resource = None
    if form.get("ResourcePolicy"):
        if not form.get("CallerArn") and source is None:
            raise ApiError("InvalidInput", "CallerArn is required with a ResourcePolicy.")
        resource = _parsed(form["ResourcePolicy"], "resource", "ResourcePolicy")
    keys: Values = {
        **caller.keys(),
        **{
            row.get("ContextKeyName", "").lower(): tuple(members(row, "ContextKeyValues"))
            for row in rows(form, "ContextEntries")
        },
    }
    actions = members(form, "ActionNames")
    if wrong := [action for action in actions if not _ACTION.fullmatch(action)]:
        raise ApiError("InvalidInput", f"Invalid action: {wrong[0]}.")
    arns = members(form, "ResourceArns")
    case = _Case(keys, caller, grants, resource)
    return _page([_result(action, arns, case) for action in actions], form)


def context_keys(who: Identities, form: dict[str, str], *, principal: bool) -> dict[str, Value]:
    """The names of the condition keys that the policies read."""
    policies = list(_documents(form, "PolicyInputList", "identity"))
    if principal:
        policies += _source(who, form.get("PolicySourceArn", "")).grants.identity
    names = {name for policy in policies for statement in policy.statements for name in statement.names()}
    return {"ContextKeyNames": {"member": sorted(names)}}


def _source(who: Identities, arn: str) -> Known:
    kind, _, name = arn.rpartition(":")[2].partition("/")
    name = name.rpartition("/")[2]
    found = who.entity(kind, name) if arn.startswith(f"arn:aws:iam::{who.account}:") else None
    if found is None:
        if kind not in ("user", "role", "group"):
            raise ApiError(
                "InvalidInput", f"Invalid Entity Arn: {arn} does not clearly define entity type and name."
            )
        raise ApiError("NoSuchEntity", f"The {kind} with name {name} cannot be found.", status=404)
    return found


def _caller(who: Identities, arn: str, source: Known | None) -> Principal:
    if not arn:
        return source.principal if source is not None else Principal("User", "", "", who.account, "", "")
    kind, _, name = arn.rpartition(":")[2].partition("/")
    if (found := who.entity(kind, name.rpartition("/")[2])) is not None:
        return found.principal
    return Principal("User" if kind == "user" else "AssumedRole", arn, arn, who.account, "", name)


def _documents(form: dict[str, str], name: str, kind: str) -> tuple[Policy, ...]:
    return tuple(
        _parsed(text, kind, f"{name}.{index}") for index, text in enumerate(members(form, name), start=1)
    )


def _parsed(text: str, kind: str, name: str) -> Policy:
    try:
        return named(parse(text, kind), name)
    except BadPolicy as error:
        raise ApiError("InvalidInput", f"Invalid policy document {name}: {error}") from error


class _Case(NamedTuple):
    """What is the same for every action of a simulation."""

    keys: Values
    caller: Principal
    grants: Grants
    resource: Policy | None


def _result(action: str, arns: list[str], case: _Case) -> dict[str, Any]:
    """One action: on everything, or on each resource and, above that, the least of them."""
    policies = (*case.grants.identity, *((case.resource,) if case.resource is not None else ()))
    told: list[tuple[str, Decision, list[str]]] = []
    for arn in arns or ["*"]:
        asked = Asked(action, arn, case.keys)
        decision = decide(asked, case.caller, case.grants, resource=case.resource)
        told.append((arn, decision, _missing(policies, asked)))
    least = min((each[1] for each in told), key=lambda decision: (not decision.explicit, decision.allowed))
    matched = [match for _, decision, _ in told if decision.word == least.word for match in decision.matched]
    found = {
        "EvalActionName": action,
        "EvalResourceName": "*" if arns in ([], ["*"]) else _template(arns[0]),
        "EvalDecision": least.word,
        "MatchedStatements": {"member": _statements(matched)},
        "MissingContextValues": {"member": sorted({name for _, _, names in told for name in names})},
        **_boundary(least),
    }
    if arns not in ([], ["*"]):
        found["EvalDecisionDetails"] = ""
        found["ResourceSpecificResults"] = {
            "member": [
                {
                    "EvalResourceName": arn,
                    "EvalResourceDecision": decision.word,
                    "MatchedStatements": {"member": _statements(decision.matched)},
                    "MissingContextValues": {"member": names},
                    **_boundary(decision),
                }
                for arn, decision, names in told
            ]
        }
    return found


def _boundary(decision: Decision) -> dict[str, Any]:
    if decision.by_boundary is None:
        return {}
    return {"PermissionsBoundaryDecisionDetail": {"AllowedByPermissionsBoundary": decision.by_boundary}}


def _missing(policies: Iterable[Policy], asked: Asked) -> list[str]:
    """The keys that statements about this action read and nobody gave."""
    found = set()
    for policy in policies:
        for statement in policy.statements:
            lacking = {name for name in statement.names() if name.lower() not in asked.keys}
            filled = Asked(
                asked.action, asked.resource, {**asked.keys, **{name.lower(): ("*",) for name in lacking}}
            )
            if lacking and (statement.about(asked) or statement.about(filled)):
                found |= lacking
    return sorted(found)


def _template(arn: str) -> str:
    return next(
        (
            template
            for start, part, template in _TEMPLATES
            if arn.startswith(start) and part in arn[len(start) :]
        ),
        "*",
    )


def _statements(matched: Iterable[Match]) -> list[Value]:
    found: list[Value] = []
    for policy, statement in dict.fromkeys(matched):
        start, end = span(policy.text, statement.index)
        found.append({
            "SourcePolicyId": policy.name,
            "SourcePolicyType": policy.kind,
            "StartPosition": position(policy.text, start),
            "EndPosition": position(policy.text, end),
        })  # fmt: skip
    return found


def position(text: str, at: int) -> dict[str, Value]:
    """Line and column, from 1, of a place in a text."""
    return {"Line": text.count("\n", 0, at) + 1, "Column": at - (text.rfind("\n", 0, at) + 1) + 1}


def span(text: str, index: int) -> tuple[int, int]:
    """Where a statement stands in its document: from behind the bracket or comma before it to behind its own end."""
    decoder = json.JSONDecoder()
    at = text.index("{") + 1
    while True:
        at = _skip(text, at)
        name, at = decoder.raw_decode(text, at)
        at = text.index(":", at) + 1
        if name == "Statement":
            break
        _, at = decoder.raw_decode(text, _skip(text, at))
    begins = _skip(text, at)
    if text[begins] == "{":
        return at, decoder.raw_decode(text, begins)[1]
    at = begins + 1
    for _ in range(index):
        _, at = decoder.raw_decode(text, _skip(text, at))
        at = text.index(",", at) + 1
    return at, decoder.raw_decode(text, _skip(text, at))[1]


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _page(results: list[dict[str, Any]], form: dict[str, str]) -> dict[str, Value]:
    marker, size = form.get("Marker", "0"), form.get("MaxItems", str(PAGE))
    if not marker.isdecimal() or not size.isdecimal():
        raise ApiError("InvalidInput", "Marker or MaxItems is none of this call's.")
    at, most = int(marker), min(max(int(size), 1), 1_000)
    more = at + most < len(results)
    found: dict[str, Value] = {
        "EvaluationResults": {"member": results[at : at + most]},
        "IsTruncated": more,
    }
    return {**found, "Marker": str(at + most)} if more else found


def _invalid(name: str, constraint: str) -> ApiError:
    return ApiError(
        "ValidationError",
        f"1 validation error detected: Value null at '{name}' failed to satisfy constraint: {constraint}",
    )
