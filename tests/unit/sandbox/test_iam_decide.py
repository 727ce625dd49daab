"""The decision: which policies together allow what, with moto's evaluator as a second opinion on the part it knows."""

from __future__ import annotations

import json
import string
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runctl.sandbox.iam.decide import BOUNDARY, IDENTITY, RESOURCE, SESSION, Grants, decide
from runctl.sandbox.iam.policy import Asked, Policy, parse
from runctl.sandbox.iam.principal import Principal

ACCOUNT = "123456789012"
USER = Principal(
    "User", f"arn:aws:iam::{ACCOUNT}:user/ann", f"arn:aws:iam::{ACCOUNT}:user/ann", ACCOUNT, "U", "ann"
)
SESSION_ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/node/i-1"
ROLE = Principal("AssumedRole", SESSION_ARN, f"arn:aws:iam::{ACCOUNT}:role/node", ACCOUNT, "R:i-1", "i-1")
ASKED = Asked("s3:GetObject", "arn:aws:s3:::data/key", {})


def policy(*effects: str, principal: Any = None, **elements: Any) -> Policy:
    """A policy with a statement for each effect, about everything unless ``elements`` say otherwise."""
    more = {} if principal is None else {"Principal": principal}
    statements = [{"Effect": each, "Action": "*", "Resource": "*", **more, **elements} for each in effects]
    return parse(
        json.dumps({"Version": "2012-10-17", "Statement": statements}), "resource" if more else "identity"
    )


ALLOW, DENY, OTHER = policy("Allow"), policy("Deny"), policy("Allow", Action="ec2:*")


@pytest.mark.parametrize(
    ("grants", "word", "source"),
    [
        (Grants(), "implicitDeny", IDENTITY),
        (Grants((ALLOW,)), "allowed", ""),
        (Grants((OTHER,)), "implicitDeny", IDENTITY),
        (Grants((ALLOW, DENY)), "explicitDeny", IDENTITY),
        (Grants((policy("Allow", "Deny"),)), "explicitDeny", IDENTITY),
        (Grants((ALLOW,), boundary=(ALLOW,)), "allowed", ""),
        (Grants((ALLOW,), boundary=(OTHER,)), "implicitDeny", BOUNDARY),
        (Grants((ALLOW,), boundary=()), "implicitDeny", BOUNDARY),
        (Grants((ALLOW,), boundary=(ALLOW, DENY)), "explicitDeny", BOUNDARY),
        (Grants((OTHER,), boundary=(ALLOW,)), "implicitDeny", IDENTITY),
        (Grants((ALLOW,), session=(ALLOW,)), "allowed", ""),
        (Grants((ALLOW,), session=(OTHER,)), "implicitDeny", SESSION),
        (Grants((ALLOW,), session=(DENY,)), "explicitDeny", SESSION),
        (Grants((ALLOW,), boundary=(OTHER,), session=(OTHER,)), "implicitDeny", BOUNDARY),
    ],
)
def test_identity_policies_boundaries_and_session_policies(grants: Grants, word: str, source: str) -> None:
    decision = decide(ASKED, ROLE, grants)
    assert (decision.word, decision.source) == (word, source)


ITSELF, ROOT = {"AWS": USER.arn}, {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}


@pytest.mark.parametrize(
    ("who", "grants", "principal", "word"),
    [
        # named itself: its own policies need not allow it, boundaries do not count
        (USER, Grants(), ITSELF, "allowed"),
        (USER, Grants(boundary=()), ITSELF, "allowed"),
        (USER, Grants((DENY,)), ITSELF, "explicitDeny"),
        (USER, Grants(), {"AWS": [SESSION_ARN, USER.arn]}, "allowed"),
        (USER, Grants(), "*", "allowed"),
        (USER, Grants(), {"AWS": "*"}, "allowed"),
        # the account hands the question on
        (USER, Grants(), ROOT, "implicitDeny"),
        (USER, Grants((ALLOW,)), ROOT, "allowed"),
        (USER, Grants(), {"AWS": ACCOUNT}, "implicitDeny"),
        (USER, Grants(), {"AWS": "arn:aws:iam::999999999999:root"}, "implicitDeny"),
        (USER, Grants(), {"Service": "ec2.amazonaws.com"}, "implicitDeny"),
        # a role is limited by boundary and session policies, its session is not
        (ROLE, Grants(), {"AWS": ROLE.entity}, "allowed"),
        (ROLE, Grants(boundary=()), {"AWS": ROLE.entity}, "implicitDeny"),
        (ROLE, Grants(session=(OTHER,)), {"AWS": ROLE.entity}, "implicitDeny"),
        (ROLE, Grants(boundary=(), session=()), {"AWS": SESSION_ARN}, "allowed"),
    ],
)
def test_a_resource_policy_that_allows(who: Principal, grants: Grants, principal: Any, word: str) -> None:
    assert decide(ASKED, who, grants, resource=policy("Allow", principal=principal)).word == word


@pytest.mark.parametrize(
    ("who", "principal", "word"),
    [
        (USER, "*", "explicitDeny"),
        (USER, ROOT, "explicitDeny"),
        (USER, {"AWS": ROLE.entity}, "allowed"),
        (ROLE, {"AWS": ROLE.entity}, "explicitDeny"),
    ],
)
def test_a_resource_policy_that_denies(who: Principal, principal: Any, word: str) -> None:
    decision = decide(ASKED, who, Grants((ALLOW,)), resource=policy("Deny", principal=principal))
    assert decision.word == word
    assert decision.source == (RESOURCE if word == "explicitDeny" else "")


def test_not_principal_denies_everybody_else() -> None:
    spared = parse(
        json.dumps({"Statement": {
            "Effect": "Deny", "NotPrincipal": {"AWS": [USER.arn]}, "Action": "*", "Resource": "*",
        }}),
        "resource",
    )  # fmt: skip
    assert decide(ASKED, USER, Grants((ALLOW,)), resource=spared).allowed
    assert decide(ASKED, ROLE, Grants((ALLOW,)), resource=spared).explicit


@pytest.mark.parametrize(
    ("trusted", "grants", "word"),
    [
        (ITSELF, Grants(), "allowed"),
        (ROOT, Grants(), "implicitDeny"),
        (ROOT, Grants((ALLOW,)), "allowed"),
        ({"Service": "ec2.amazonaws.com"}, Grants((ALLOW,)), "implicitDeny"),
        ({"AWS": ROLE.entity}, Grants((ALLOW,)), "implicitDeny"),
    ],
)
def test_a_trust_policy_has_to_agree(trusted: Any, grants: Grants, word: str) -> None:
    trust = parse(
        json.dumps({"Statement": {"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}}),
        "trust",
    )
    asked = Asked("sts:AssumeRole", ROLE.entity, {})
    assert decide(asked, USER, grants, resource=trust, must=True).word == word


def test_the_statements_that_decided_are_told() -> None:
    mixed = parse(json.dumps({"Statement": [
        {"Sid": "No", "Effect": "Deny", "Action": "ec2:*", "Resource": "*"},
        {"Sid": "Yes", "Effect": "Allow", "Action": "s3:*", "Resource": "*"},
    ]}))  # fmt: skip
    assert [match.statement.sid for match in decide(ASKED, USER, Grants((mixed,))).matched] == ["Yes"]
    denied = decide(Asked("ec2:RunInstances", "*", {}), USER, Grants((mixed,)))
    assert [match.statement.sid for match in denied.matched] == ["No"]


# --- properties ---------------------------------------------------------------------------------------------

NAMES = st.text(string.ascii_letters, min_size=1, max_size=4)
ACTIONS = st.builds(
    "{}:{}".format,
    st.sampled_from(["s3", "ec2"]),
    st.sampled_from(["GetObject", "PutObject", "RunInstances"]),
)
ACTION_PATTERNS = st.one_of(
    ACTIONS, st.sampled_from(["*", "s3:*", "ec2:*", "s3:Get*", "s3:*Object", "ec2:Run*"])
)
RESOURCES = st.builds(
    "arn:aws:s3:::{}/{}".format, st.sampled_from(["a", "b"]), st.sampled_from(["x", "y/z", "w"])
)
RESOURCE_PATTERNS = st.one_of(
    RESOURCES,
    st.sampled_from(["*", "arn:aws:s3:::a/*", "arn:aws:s3:::*", "arn:aws:s3:::b/y/*", "arn:aws:s3:::*/w"]),
)
STATEMENTS = st.fixed_dictionaries({
    "Effect": st.sampled_from(["Allow", "Deny"]),
    "Action": st.lists(ACTION_PATTERNS, min_size=1, max_size=3),
    "Resource": st.lists(RESOURCE_PATTERNS, min_size=1, max_size=3),
})  # fmt: skip
DOCUMENTS = st.lists(STATEMENTS, min_size=1, max_size=4).map(
    lambda listed: json.dumps({"Version": "2012-10-17", "Statement": listed})
)


@settings(max_examples=300, deadline=None)
@given(document=DOCUMENTS, action=ACTIONS, resource=RESOURCES)
def test_moto_comes_to_the_same_decision(document: str, action: str, resource: str) -> None:
    from moto.iam.access_control import IAMPolicy, PermissionResult

    theirs = IAMPolicy(document).is_action_permitted(action, resource)
    ours = decide(Asked(action, resource, {}), USER, Grants((parse(document),)))
    assert (
        ours.word
        == {
            PermissionResult.PERMITTED: "allowed",
            PermissionResult.DENIED: "explicitDeny",
            PermissionResult.NEUTRAL: "implicitDeny",
        }[theirs]
    )


@settings(max_examples=200, deadline=None)
@given(documents=st.lists(DOCUMENTS, max_size=4), action=ACTIONS, resource=RESOURCES, data=st.data())
def test_order_and_splitting_do_not_matter(
    documents: list[str], action: str, resource: str, data: st.DataObject
) -> None:
    asked = Asked(action, resource, {})
    shuffled = data.draw(st.permutations(documents))
    whole = [each for text in documents for each in json.loads(text)["Statement"]]
    one = [json.dumps({"Version": "2012-10-17", "Statement": whole})] if whole else []
    words = {
        decide(asked, USER, Grants(tuple(map(parse, texts)))).word for texts in (documents, shuffled, one)
    }
    assert len(words) == 1


@settings(max_examples=200, deadline=None)
@given(own=DOCUMENTS, limit=DOCUMENTS, action=ACTIONS, resource=RESOURCES)
def test_a_boundary_and_a_session_only_take_away(own: str, limit: str, action: str, resource: str) -> None:
    asked, mine, theirs = Asked(action, resource, {}), (parse(own),), (parse(limit),)
    free = decide(asked, ROLE, Grants(mine)).allowed
    allowed = free and decide(asked, ROLE, Grants(theirs)).allowed
    assert decide(asked, ROLE, Grants(mine, boundary=theirs)).allowed is allowed
    assert decide(asked, ROLE, Grants(mine, session=theirs)).allowed is allowed


@settings(max_examples=200, deadline=None)
@given(document=DOCUMENTS, action=ACTIONS, resource=RESOURCES)
def test_one_deny_of_everything_is_the_end(document: str, action: str, resource: str) -> None:
    for grants in (
        Grants((parse(document), DENY)),
        Grants((parse(document),), boundary=(DENY,)),
        Grants((parse(document),), session=(DENY,)),
    ):
        assert decide(Asked(action, resource, {}), ROLE, grants).explicit


@settings(max_examples=300, deadline=None)
@given(
    values=st.lists(NAMES, max_size=3, unique=True).map(tuple),
    wanted=st.lists(NAMES, min_size=1, max_size=3),
)
def test_a_negated_operator_is_the_opposite(values: tuple[str, ...], wanted: list[str]) -> None:
    def holds(operator: str) -> bool:
        element = policy("Allow", Condition={operator: {"k:k": wanted}})
        return decide(Asked("s3:GetObject", "*", {"k:k": values}), USER, Grants((element,))).allowed

    assert holds("StringNotEquals") is not holds("StringEquals")
    some, every = holds("ForAnyValue:StringEquals"), holds("ForAllValues:StringEquals")
    assert some == bool(set(values) & set(wanted))
    assert every == (set(values) <= set(wanted))
    assert holds("ForAnyValue:StringNotEquals") is not every
    assert holds("ForAllValues:StringNotEquals") is not some
    assert holds("StringEqualsIfExists") is (holds("StringEquals") or not values)


def test_every_combination_of_two_effects() -> None:
    for first, second in product((None, "Allow", "Deny"), repeat=2):
        grants = Grants(tuple(policy(each) for each in (first, second) if each))
        expected = (
            "explicitDeny"
            if "Deny" in (first, second)
            else "allowed"
            if "Allow" in (first, second)
            else "implicitDeny"
        )
        assert decide(ASKED, USER, grants).word == expected
