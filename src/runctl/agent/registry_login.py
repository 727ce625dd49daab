"""A login at ECR, AWS's container registry, for one pull: by the machine's own credentials, in a folder that goes again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

from runctl.agent import engines
from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from runctl.s3.exchange import Pool
    from runctl.s3.signing import Keys

_HOST = re.compile(r"(\d{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.(amazonaws\.com(?:\.cn)?)")
_TARGET = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"


@contextmanager
def login(
    engine: str,
    image: str,
    folder: str,
    *,
    cancelled: Callable[[], bool],
    env: Mapping[str, str] = os.environ,
) -> Iterator[list[str]]:
    """The words that begin a command of ``engine`` which is to pull ``image``: with a login where it is in ECR.

    ``folder`` is made for it and gone after the block. A machine without credentials pulls as its engine is logged in.

    Raises:
        AgentFailure: ``image-refused``, ``image-network``: what ECR says; ``cancelled``.
    """
    host = image.partition("/")[0]
    place = _HOST.fullmatch(host)
    pair = "" if place is None else _token(image, place, env, cancelled)
    if not pair:
        yield [engine]
        return
    shutil.rmtree(folder, ignore_errors=True)  # of a supervisor that was killed
    os.mkdir(folder, 0o700)
    try:
        path = os.path.join(folder, "config.json")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump({"auths": {host: {"auth": pair}}}, file)
        if engine == "podman":
            yield ["env", "REGISTRY_AUTH_FILE=" + path, engine]
        else:
            yield ["env", "DOCKER_CONFIG=" + folder, *_daemon(env), engine]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _daemon(env: Mapping[str, str]) -> list[str]:
    """Where docker's daemon listens, which its own configuration would have said."""
    if env.get("DOCKER_HOST"):
        return []
    code, said = engines.call(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"])
    return ["DOCKER_HOST=" + said] if code == 0 and "://" in said else []


def _token(image: str, place: re.Match[str], env: Mapping[str, str], cancelled: Callable[[], bool]) -> str:
    """User and password as ECR gives them, in base64; empty where this machine is nobody."""
    from runctl.agent.credentials import Credentials  # noqa: PLC0415 - few images are in ECR
    from runctl.s3.exchange import Pool  # noqa: PLC0415
    from runctl.s3.patience import Passing, Patience, Stopped  # noqa: PLC0415

    credentials, pool = Credentials(env), Pool(env=env)
    try:
        keys = credentials.keys()
    except AgentFailure:
        return ""
    try:
        return Patience(stopped=cancelled).persist(lambda: _ask(image, place, env, keys, pool))
    except Passing as error:
        raise AgentFailure("image-network", image=image, detail="ECR: %s" % error.facts["detail"]) from error
    except Stopped:
        raise AgentFailure("cancelled", step="image") from None
    finally:
        credentials.close()
        pool.close()


def _ask(image: str, place: re.Match[str], env: Mapping[str, str], keys: Keys, pool: Pool) -> str:
    from runctl.s3.exchange import Address  # noqa: PLC0415 - as above
    from runctl.s3.patience import Passing  # noqa: PLC0415
    from runctl.s3.signing import signed  # noqa: PLC0415

    account, region, domain = place.groups()
    url = env.get("AWS_ENDPOINT_URL_ECR") or env.get("AWS_ENDPOINT_URL")
    parts = urlsplit(url or "https://api.ecr.%s.%s" % (region, domain))
    address = Address(parts.hostname or "", secure=parts.scheme == "https", port=parts.port)
    body = json.dumps({"registryIds": [account]}).encode()
    headers = signed(
        "POST",
        "/",
        "",
        {"host": address.header, "content-type": "application/x-amz-json-1.1", "x-amz-target": _TARGET},
        payload=hashlib.sha256(body).hexdigest(),
        keys=keys,
        region=region,
        service="ecr",
        now=time.time(),
    )
    headers["content-length"] = str(len(body))
    with pool.send(address, "POST", "/", headers, body) as answer:
        text = answer.whole().decode("utf-8", "replace")
    if answer.status >= 500 or answer.status == 429 or "Throttl" in text:
        raise Passing("store-unreachable", host=address.header, detail="status %d" % answer.status)
    try:
        told = json.loads(text)
        if answer.status == 200:
            return str(told["authorizationData"][0]["authorizationToken"])
        kind = str(told.get("__type", "")).rpartition("#")[2]
        why = "%s: %s" % (kind, told.get("message") or told.get("Message") or "")
    except (ValueError, LookupError, TypeError, AttributeError):
        why = "status %d" % answer.status
    raise AgentFailure("image-refused", image=image, detail="ECR gives this machine no login: %s" % why)
