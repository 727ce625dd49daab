"""Parameter Store: names, versions and values. Pure but for the secret that hides SecureString values."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runctl.sandbox.call import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

STANDARD_LIMIT, ADVANCED_LIMIT = 4096, 8192  # bytes of a value
VERSIONS_KEPT = 100
_NAME = re.compile(r"[a-zA-Z0-9_.\-/]+")
_RESERVED = ("aws", "ssm")


@dataclass
class Version:
    """One value a parameter had. `modified` is seconds since the epoch."""

    number: int
    kind: str
    value: str
    modified: float
    user: str
    tier: str
    data_type: str = "text"
    labels: list[str] = field(default_factory=list)


@dataclass
class Parameter:
    """A parameter by name, with its versions, oldest first."""

    name: str
    description: str = ""
    pattern: str = ""
    key: str = ""
    versions: list[Version] = field(default_factory=list)

    @property
    def latest(self) -> Version:
        """The value it has now."""
        return self.versions[-1]


class Parameters:
    """Every parameter of one region's store, by region."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._secret = secrets.token_bytes(32)
        self._regions: dict[str, dict[str, Parameter]] = {}

    def of(self, region: str) -> dict[str, Parameter]:
        """The parameters of a region by name."""
        return self._regions.setdefault(region, {})

    def put(self, region: str, given: dict[str, Any], *, user: str) -> Version:
        """Make a parameter or a new version of it.

        Raises:
            ApiError: what the service refuses: a name that exists without Overwrite, a value its pattern forbids, ...
        """
        name, value = given["Name"], given["Value"]
        _check_name(name)
        tier = given.get("Tier", "Standard")
        limit = ADVANCED_LIMIT if tier == "Advanced" else STANDARD_LIMIT
        if len(value.encode()) > limit:
            raise ApiError(
                "ValidationException",
                f"{tier} tier parameters support a maximum parameter value of {limit} characters.",
            )
        every = self.of(region)
        found = every.get(name)
        if found is not None and not given.get("Overwrite"):
            raise ApiError(
                "ParameterAlreadyExists",
                "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
            )
        kind = given.get("Type") or (found.latest.kind if found else "")
        if not kind:
            raise ApiError("ValidationException", "A parameter type is required when you create a parameter.")
        pattern = given.get("AllowedPattern", found.pattern if found else "")
        if pattern and not re.fullmatch(pattern, value):
            raise ApiError(
                "ParameterPatternMismatchException",
                f"Parameter value, cannot be validated against allowedPattern: {pattern}",
            )
        parameter = found or Parameter(name)
        parameter.pattern = pattern
        parameter.description = given.get("Description", parameter.description)
        parameter.key = given.get("KeyId", parameter.key or "alias/aws/ssm") if kind == "SecureString" else ""
        number = parameter.latest.number + 1 if parameter.versions else 1
        version = Version(number, kind, value, self._now(), user, tier, given.get("DataType", "text"))
        parameter.versions = [*parameter.versions, version][-VERSIONS_KEPT:]
        every[name] = parameter
        return version

    def find(self, region: str, asked: str) -> tuple[Parameter, Version] | None:
        """A parameter by `name`, `name:version` or `name:label`, or by its ARN."""
        name, _, selector = (
            asked.partition(":parameter")[2] if asked.startswith("arn:") else asked
        ).partition(":")
        every = self.of(region)
        parameter = every.get(name) or every.get(name.lstrip("/"))
        if parameter is None:
            return None
        if not selector:
            return parameter, parameter.latest
        for version in parameter.versions:
            if selector == str(version.number) or selector in version.labels:
                return parameter, version
        return None

    def hide(self, value: str) -> str:
        """A SecureString as it is told without decryption: looks like a ciphertext and is always the same."""
        data = value.encode()
        stream = hashlib.shake_256(self._secret).digest(len(data))
        return base64.b64encode(bytes(a ^ b for a, b in zip(data, stream, strict=True))).decode()


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ApiError(
            "ValidationException",
            "Parameter name: can't be prefixed with or contain characters other than letters, digits, '.', '-', '_' and '/'.",
        )
    if name.lstrip("/").split("/")[0].lower().startswith(_RESERVED):
        code = "AccessDeniedException" if name.lower().startswith("/aws/service") else "ValidationException"
        raise ApiError(code, f"No access to reserved parameter name: {name}.")
    if "/" in name and not name.startswith("/"):
        raise ApiError("ValidationException", "Parameter name must be a fully qualified name.")
    if name.count("/") > 15:
        raise ApiError("HierarchyLevelLimitExceededException", "A hierarchy can have a maximum of 15 levels.")


def below(path: str, name: str, *, recursive: bool) -> bool:
    """Whether a parameter's name is under a path: directly, or anywhere when `recursive`."""
    prefix = path.rstrip("/") + "/"
    return name.startswith(prefix) and (recursive or "/" not in name[len(prefix) :])
