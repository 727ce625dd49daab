"""Name → adapter. A built-in is one line here; a third party's is an entry point in the group of its socket.

[project.entry-points."runctl.providers"]
mycloud = "mycloud.runctl:MyCloud"
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from runctl.core.model import Endpoint
    from runctl.core.ports import Provider, Store, Surroundings, Transport

PROVIDERS = {
    "local": "runctl.providers.local:LocalProvider",
    "aws": "runctl.providers.aws.provider:AwsProvider",
    "ssh": "runctl.providers.ssh:SshProvider",
}
TRANSPORTS = {
    "local": "runctl.transports.local:LocalTransport",
    "ssh": "runctl.transports.ssh.transport:SshTransport",
    "ssm": "runctl.transports.ssm.transport:SsmTransport",
}
STORES = {  # by the scheme of their URLs
    "file": "runctl.stores.directory:DirectoryStore",
    "s3": "runctl.stores.s3:S3Store",
}


def names(socket: str) -> list[str]:
    """Every name of ``providers``, ``transports`` or ``stores``, built in or a plug-in's."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and rarely needed

    built_in = {"providers": PROVIDERS, "transports": TRANSPORTS, "stores": STORES}[socket]
    return sorted({*built_in, *(point.name for point in entry_points(group=f"runctl.{socket}"))})


def resolved(target: str, hosts: Mapping[str, str]) -> tuple[str, str]:
    """The provider of ``target``, and what it has to know of it: an address is its scheme's, a name of ``hosts`` too."""
    if target in PROVIDERS:
        return target, ""
    found = hosts.get(target, target)
    scheme, colon, _ = found.partition("://")
    return (scheme, found) if colon else (found, "")


def check_target(target: str, hosts: Mapping[str, str]) -> None:
    """Raise ``unknown-target``, with the names there are, for one that is none."""
    _provider_class(resolved(target, hosts)[0], hosts)


def provider(target: str, surroundings: Surroundings) -> Provider:
    """The provider called ``target``, or the one of an address or a name of ``hosts``. Raises ``unknown-target``."""
    hosts = surroundings.setting("hosts")
    name, address = resolved(target, hosts)
    made = _provider_class(name, hosts)
    return made(surroundings, address) if address else made(surroundings)


def _provider_class(name: str, hosts: Iterable[str]) -> Callable[..., Provider]:
    found: Callable[..., Provider] = _load("runctl.providers", PROVIDERS, name, more=hosts)
    return found


def transport(endpoint: Endpoint, surroundings: Surroundings) -> Transport:
    """The transport that reaches ``endpoint``; opens no connection. Raises ``unknown-target``."""
    made: Transport = _load("runctl.transports", TRANSPORTS, endpoint.transport)(endpoint, surroundings)
    return made


def store(url: str, surroundings: Surroundings) -> Store:
    """The store at ``url``, such as ``s3://bucket/prefix``; opens no connection. Raises ``unknown-target``."""
    scheme = url.partition(":")[0]
    made: Store = _load("runctl.stores", STORES, scheme)(url, surroundings)
    return made


def _load(group: str, built_in: dict[str, str], name: str, *, more: Iterable[str] = ()) -> Any:
    if name not in built_in:
        from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and rarely needed

        found = {point.name: point for point in entry_points(group=group)}
        if name in found:
            return found[name].load()
        raise known("unknown-target", target=name, targets=", ".join(sorted({*built_in, *found, *more})))
    module, _, attribute = built_in[name].partition(":")
    return getattr(import_module(module), attribute)
