"""ECR, AWS's container registry: a login that lasts for hours, and the repository that a push needs."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.aws.errors import code_of
from runctl.core.errors import RunctlError

if TYPE_CHECKING:
    from runctl.aws.calls import AwsCalls
    from runctl.core.cancel import CancelToken

_HOST = re.compile(r"(\d{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")


class Place(NamedTuple):
    """Whose registry, in which region; both empty: the caller's own."""

    account: str = ""
    region: str = ""


class Token(NamedTuple):
    """A login at ``host``. The password is a secret."""

    host: str
    user: str
    password: str


def place_of(host: str) -> Place | None:
    """The registry behind a host name; None for one that is not ECR's. Pure."""
    found = _HOST.fullmatch(host)
    return Place(found[1], found[2]) if found else None


def log_in(calls: AwsCalls, place: Place, cancel: CancelToken) -> Token:
    """A login, by the caller's credentials. Raises as ``AwsCalls.call``."""
    more: dict[str, Any] = {"registryIds": [place.account]} if place.account else {}
    answer = calls.call("ecr", "get_authorization_token", cancel=cancel, region=place.region or None, **more)
    data = answer["authorizationData"][0]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    return Token(data["proxyEndpoint"].removeprefix("https://"), user, password)


def make_repository(calls: AwsCalls, place: Place, name: str, cancel: CancelToken) -> bool:
    """Make sure that there is a repository; true when it was made now. Safe to repeat. Raises as ``AwsCalls.call``."""
    region = place.region or None
    more: dict[str, Any] = {"registryId": place.account} if place.account else {}
    try:
        calls.call(
            "ecr", "describe_repositories", cancel=cancel, region=region, repositoryNames=[name], **more
        )
    except RunctlError as error:
        if code_of(error) != "RepositoryNotFoundException":
            raise
    else:
        return False
    try:
        calls.call("ecr", "create_repository", cancel=cancel, region=region, repositoryName=name, **more)
    except RunctlError as error:
        if code_of(error) != "RepositoryAlreadyExistsException":  # somebody was quicker
            raise
        return False
    return True
