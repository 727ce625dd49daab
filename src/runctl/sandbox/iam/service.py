"""IAM: simulations, boundaries of users, and a look at documents before moto keeps them; all else is moto's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.sandbox.call import ApiError
from runctl.sandbox.iam.answers import answer, form_of
from runctl.sandbox.iam.policy import BadPolicy, parse
from runctl.sandbox.iam.simulate import context_keys, simulate

if TYPE_CHECKING:
    from runctl.sandbox.call import Call
    from runctl.sandbox.http import Request, Response
    from runctl.sandbox.iam.identities import Identities
    from runctl.sandbox.moto_services import Moto

# operation -> (the parameter that holds a document, its kind)
DOCUMENTS = {
    "CreatePolicy": ("PolicyDocument", "identity"),
    "CreatePolicyVersion": ("PolicyDocument", "identity"),
    "CreateRole": ("AssumeRolePolicyDocument", "trust"),
    "PutGroupPolicy": ("PolicyDocument", "identity"),
    "PutRolePolicy": ("PolicyDocument", "identity"),
    "PutUserPolicy": ("PolicyDocument", "identity"),
    "UpdateAssumeRolePolicy": ("PolicyDocument", "trust"),
}


class Iam:
    """The service."""

    def __init__(self, identities: Identities, moto: Moto) -> None:
        self._identities = identities
        self._moto = moto

    async def handle(self, request: Request, call: Call) -> Response | None:
        """Answer one call; whatever it changed counts from then on."""
        try:
            return await self._handle(request, call)
        finally:
            self._identities.changed()

    async def _handle(self, request: Request, call: Call) -> Response | None:
        form = form_of(call)
        await self._identities.ready()
        if call.action in DOCUMENTS:
            _check(form, *DOCUMENTS[call.action])
        if call.action in ("SimulatePrincipalPolicy", "SimulateCustomPolicy"):
            whole = call.action == "SimulatePrincipalPolicy"
            return answer(call, simulate(self._identities, form, principal=whole))
        if call.action in ("GetContextKeysForPrincipalPolicy", "GetContextKeysForCustomPolicy"):
            whole = call.action == "GetContextKeysForPrincipalPolicy"
            return answer(call, context_keys(self._identities, form, principal=whole))
        if call.action in ("PutUserPermissionsBoundary", "DeleteUserPermissionsBoundary"):
            await self._moto.run(lambda: self._bound(form))
            return answer(call, {})
        bounded = call.action == "CreateUser" and bool(form.get("PermissionsBoundary"))
        if bounded:
            self._policy(form["PermissionsBoundary"])
        given = await self._moto.handle(request, call)
        if bounded and given.status == 200:
            await self._moto.run(lambda: self._bound(form))
        return given

    def _policy(self, arn: str) -> None:
        """Raises ApiError when there is no such policy."""
        if self._identities.managed(arn) is None:
            raise ApiError(
                "NoSuchEntity", f"Scope ARN: {arn} does not exist or is not attachable.", status=404
            )

    def _bound(self, form: dict[str, str]) -> None:
        """Set or take away a user's boundary, which moto does not know. In moto's thread."""
        name, arn = form.get("UserName", ""), form.get("PermissionsBoundary")
        user: Any = self._identities.iam().users.get(name)
        if user is None:
            raise ApiError("NoSuchEntity", f"The user with name {name} cannot be found.", status=404)
        if arn:
            self._policy(arn)
        user.permissions_boundary_arn = arn
        user.permissions_boundary = (
            {"PermissionsBoundaryType": "PermissionsBoundaryPolicy", "PermissionsBoundaryArn": arn}
            if arn
            else None
        )


def _check(form: dict[str, str], parameter: str, kind: str) -> None:
    """Raises ApiError for a document that AWS would not keep."""
    try:
        parse(form.get(parameter, ""), kind)
    except BadPolicy as error:
        raise ApiError("MalformedPolicyDocument", str(error)) from error
