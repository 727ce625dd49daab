"""Which permissions a plan takes, and whether the caller has them: asked of IAM before anything is bought.

IAM's simulation knows the caller's own policies, boundary and organisation. It does not know what a call will carry
beyond what it is told, so a decision that hangs on something else (an address, a second factor) is not counted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from runctl.aws.errors import code_of
from runctl.aws.policies import client_policy, push_policy
from runctl.core.cancel import together
from runctl.core.catalogue import known
from runctl.core.checks import Check, ok, skipped, warn
from runctl.core.errors import RunctlError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runctl.aws.calls import AwsCalls
    from runctl.aws.names import Names
    from runctl.aws.needs import Need
    from runctl.aws.session import Identity
    from runctl.core.cancel import CancelToken

FEW = 4  # actions that are named in a sentence
_OPAQUE = ("InvalidInput", "NoSuchEntity", "ValidationError", "PolicyEvaluation", "NotImplemented")


@dataclass(frozen=True)
class Refusal:
    """One action that the caller may not do on one resource; ``way`` is that of its need."""

    action: str
    resource: str
    what_for: str
    by: str = "no policy allows it"
    way: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a simulation said. ``unsure`` are actions nobody could decide."""

    refused: tuple[Refusal, ...] = ()
    unsure: tuple[str, ...] = field(default=())


def principal_of(calls: AwsCalls, identity: Identity, cancel: CancelToken) -> str:
    """The user or role whose policies count for a caller; empty for one that has none to be asked about."""
    head, _, tail = identity.arn.partition(f":{identity.account}:")
    kind, _, rest = tail.partition("/")
    partition = head.split(":")[1]
    if kind == "user":
        return identity.arn.replace(":sts:", ":iam:")
    if kind != "assumed-role":
        return ""
    name = rest.partition("/")[0]
    try:
        return str(calls.call("iam", "get_role", RoleName=name, cancel=cancel)["Role"]["Arn"])
    except RunctlError as error:
        if error.code != "aws-denied":
            raise
        return f"arn:{partition}:iam::{identity.account}:role/{name}"  # right unless the role has a path


def simulate(calls: AwsCalls, needed: Sequence[Need], principal: str, cancel: CancelToken) -> Verdict:
    """Ask IAM whether ``principal`` has the permissions. Read-only; the needs are asked side by side.

    Raises:
        AccessError: ``aws-denied``: the caller may not ask.
    """
    with together(cancel) as scope:
        asked = [
            scope.start(f"simulate {need.actions[0]}", partial(_ask, calls, need, principal, scope.cancel))
            for need in needed
        ]
    verdicts = [child.result() for child in asked]
    return Verdict(
        tuple(dict.fromkeys(refusal for verdict in verdicts for refusal in verdict.refused)),
        tuple(dict.fromkeys(action for verdict in verdicts for action in verdict.unsure)),
    )


def _ask(calls: AwsCalls, need: Need, principal: str, cancel: CancelToken) -> Verdict:
    params: dict[str, Any] = {
        "PolicySourceArn": principal,
        "ActionNames": list(need.actions),
        "ResourceArns": list(need.resources),
        "ContextEntries": [
            {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for key, value in need.carries
        ],
    }
    if need.scenario:
        params["ResourceHandlingOption"] = need.scenario
    try:
        pages = list(calls.pages("iam", "simulate_principal_policy", cancel=cancel, **params))
    except RunctlError as error:
        if code_of(error) not in _OPAQUE:
            raise
        return Verdict(unsure=need.actions)
    return judge(need, [result for page in pages for result in page["EvaluationResults"]])


def judge(need: Need, results: Iterable[Mapping[str, Any]]) -> Verdict:
    """The answers of one simulation as a verdict. Pure."""
    refused: list[Refusal] = []
    unsure: list[str] = []
    for result in results:
        each = result.get("ResourceSpecificResults") or [
            {
                "EvalResourceName": result.get("EvalResourceName", "*"),
                "EvalResourceDecision": result["EvalDecision"],
                "MissingContextValues": result.get("MissingContextValues", []),
            }
        ]
        for one in each:
            decision = one["EvalResourceDecision"]
            if decision == "allowed":
                continue
            lacking = [each for each in one.get("MissingContextValues", ()) if not _absent(each)]
            if lacking:
                unsure.append(result["EvalActionName"])
            else:
                by = _because(result, decision)
                refused.append(
                    Refusal(result["EvalActionName"], one["EvalResourceName"], need.what_for, by, need.way)
                )
    return Verdict(tuple(refused), tuple(unsure))


def in_the_way(needed: Sequence[Need], refused: Sequence[Refusal]) -> tuple[tuple[Refusal, ...], str]:
    """The refusals that nothing makes up for; and where another way than the best will be taken, words for that. Pure."""
    ways = list(dict.fromkeys(need.way for need in needed if need.way))
    shut = {way: [each for each in refused if each.way == way] for way in ways}
    firm = [each for each in refused if not each.way]
    still = [way for way in ways if not shut[way]]
    if ways and not still:
        firm += shut[ways[0]]
    if not ways or not still or still[0] == ways[0]:
        return tuple(firm), ""
    actions = ", ".join(dict.fromkeys(each.action for each in shut[ways[0]]))
    return tuple(firm), f"{actions}: not allowed; {still[0]} take the place of {ways[0]}, and are slower"


def _absent(key: str) -> bool:
    """Whether we know that the call will not carry a condition key: tags beside our own are not asked for."""
    return key.lower().startswith("aws:requesttag/")


def _because(result: Mapping[str, Any], decision: str) -> str:
    if result.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations") is False:
        return "the organisation forbids it"
    if result.get("PermissionsBoundaryDecisionDetail", {}).get("AllowedByPermissionsBoundary") is False:
        return "outside of the permissions boundary"
    return "a policy forbids it" if decision == "explicitDeny" else "no policy allows it"


def statements_for(refused: Sequence[Refusal], names: Names) -> list[dict[str, Any]]:
    """The statements that allow what was refused: those of the least policy cut down to it, and for the rest new ones."""
    wanted = {each.action for each in refused}
    found = [
        {**each, "Action": [action for action in each["Action"] if action in wanted]}
        for each in (*client_policy(names)["Statement"], *push_policy(names)["Statement"])
        if each["Effect"] == "Allow" and wanted & set(each["Action"])
    ]
    rest: dict[str, list[str]] = {}
    for each in refused:
        if each.action not in {action for statement in found for action in statement["Action"]}:
            rest.setdefault(each.resource, []).append(each.action)
    return found + [
        {"Effect": "Allow", "Action": actions, "Resource": [resource]} for resource, actions in rest.items()
    ]


def missing(refused: Sequence[Refusal], identity: Identity, names: Names) -> RunctlError:
    """All refusals as one error, with the statements that would end them."""
    lines: dict[str, list[str]] = {}
    for each in refused:
        lines.setdefault(f"{each.action} to {each.what_for} ({each.by})", []).append(each.resource)
    actions = list(dict.fromkeys(each.action for each in refused))
    statements = statements_for(refused, names)
    return known(
        "aws-permissions-missing",
        why="; ".join(lines),
        fix=(
            f"let whoever owns the account give {identity.name} this:",
            *(f"  {json.dumps(statement)}" for statement in statements),
            "or all that runctl needs:",
            "  runctl aws setup --print policy",
        ),
        who=identity.name,
        count=f"{len(actions)} permission" + ("" if len(actions) == 1 else "s"),
        actions=", ".join(actions),
    )


def permissions(calls: AwsCalls, names: Names, needed: Sequence[Need], cancel: CancelToken) -> Check:
    """Whether the caller has every permission in ``needed``. Read-only.

    Raises:
        AccessError: ``aws-permissions-missing``, naming each action, what it is for, and the statement to add.
    """
    identity = calls.identity(cancel)
    count = len({action for need in needed for action in need.actions})
    if identity.root:
        return ok(f"{count} actions: the root user may do everything")
    try:
        principal = principal_of(calls, identity, cancel)
        if not principal:
            return skipped(f"nobody can ask IAM what {identity.name} may do")
        verdict = simulate(calls, needed, principal, cancel)
    except RunctlError as error:
        if error.code != "aws-denied":
            raise
        return skipped(f"you may not ask IAM: {error.context.get('action')} is not allowed")
    refused, instead = in_the_way(needed, verdict.refused)
    if refused:
        raise missing(refused, identity, names)
    return _told(verdict, count, instead)


def _told(verdict: Verdict, count: int, instead: str) -> Check:
    """A verdict that holds up nobody, in words."""
    if instead:
        return warn(instead)
    if len(verdict.unsure) == count:
        return skipped("IAM cannot tell beforehand")
    without = {each.action for each in verdict.refused}
    if verdict.unsure:
        some = ", ".join(verdict.unsure[:FEW]) + (", ..." if len(verdict.unsure) > FEW else "")
        allowed = count - len(without) - len(verdict.unsure)
        return warn(f"{allowed} actions are allowed; IAM cannot tell beforehand about {some}")
    if without:
        return ok(f"{count - len(without)} actions are allowed, {', '.join(sorted(without))} is done without")
    return ok(f"all {count} actions are allowed")
