"""The public parameters under /aws/service/ that name machine images, resolved to images the sandbox's EC2 knows.

There are fewer images here than the names promise: a name resolves to an image of the same family and processor, of
the wanted release where there is one, else to any. What an instance of it runs is this machine's system in any case.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.sandbox.moto_services import Moto

if TYPE_CHECKING:
    from runctl.sandbox.ssm.service import Ssm

ROOT = "/aws/service/"
_AL = ROOT + "ami-amazon-linux-latest/"


class _Family(NamedTuple):
    names: re.Pattern[str]
    images: tuple[str, ...]  # patterns of image names, the best first


_FAMILIES = (
    _Family(
        re.compile(_AL + r"al2023-ami-(?P<release>minimal)-kernel-(default|[\d.]+)-(?P<arch>x86_64|arm64)"),
        (r"al2023-ami-{release}-", r"al20\d\d-"),
    ),
    _Family(
        re.compile(_AL + r"al2023-ami-kernel-(default|[\d.]+)-(?P<arch>x86_64|arm64)"),
        (r"al2023-ami-2", r"al20\d\d-"),
    ),
    _Family(
        re.compile(_AL + r"amzn2-ami-(hvm|kernel-[\d.]+-hvm)-(?P<arch>x86_64|arm64)-(gp2|ebs)"),
        (r"amzn2-", r"amzn-ami-hvm-"),
    ),
    _Family(
        re.compile(
            ROOT + r"canonical/ubuntu/server/(?P<release>\d\d\.\d\d|jammy|noble|focal)"
            r"/stable/current/(?P<arch>amd64|arm64)/hvm/ebs-gp[23]/ami-id"
        ),
        (r"ubuntu/images/.*{release}", r"ubuntu/images/"),
    ),
    _Family(
        re.compile(
            ROOT
            + r"deeplearning/ami/(?P<arch>x86_64|arm64)/[a-z0-9.\-]*(?P<release>pytorch)[a-z0-9.\-]*/latest/ami-id"
        ),
        (r"(?i)Deep Learning .*{release}", r"Deep Learning "),
    ),
    _Family(
        re.compile(
            ROOT
            + r"deeplearning/ami/(?P<arch>x86_64|arm64)/[a-z0-9.\-]+amazon-linux-(?P<release>2023|2)/latest/ami-id"
        ),
        (r"Deep Learning .*Amazon Linux {release}", r"Deep Learning "),
    ),
    _Family(
        re.compile(
            ROOT
            + r"deeplearning/ami/(?P<arch>x86_64|arm64)/[a-z0-9.\-]+ubuntu-(?P<release>\d\d\.\d\d)/latest/ami-id"
        ),
        (r"Deep Learning Base .*Ubuntu {release}", r"Deep Learning "),
    ),
)
# The names listed under a path; any other that fits a family resolves, too.
LISTED = (
    *(
        f"{_AL}al2023-ami-kernel-{kernel}-{arch}"
        for kernel in ("default", "6.1")
        for arch in ("x86_64", "arm64")
    ),
    *(f"{_AL}al2023-ami-minimal-kernel-default-{arch}" for arch in ("x86_64", "arm64")),
    f"{_AL}amzn2-ami-hvm-x86_64-gp2",
    f"{_AL}amzn2-ami-kernel-5.10-hvm-x86_64-gp2",
    *(
        f"{ROOT}canonical/ubuntu/server/{release}/stable/current/amd64/hvm/ebs-gp2/ami-id"
        for release in ("20.04", "22.04", "24.04")
    ),
    *(
        f"{ROOT}deeplearning/ami/x86_64/{kind}/latest/ami-id"
        for kind in (
            "base-oss-nvidia-driver-gpu-ubuntu-22.04",
            "base-oss-nvidia-driver-gpu-amazon-linux-2023",
            "oss-nvidia-driver-gpu-pytorch-2.7-ubuntu-22.04",
        )
    ),
)
_ARCHITECTURES = {"amd64": "x86_64"}


def choose(name: str, images: list[tuple[str, str, str]]) -> str | None:
    """The image a public name stands for, among (id, name, architecture); None when nothing fits."""
    for family in _FAMILIES:
        found = family.names.fullmatch(name)
        if found is None:
            continue
        given = found.groupdict()
        arch = _ARCHITECTURES.get(given["arch"], given["arch"])
        for pattern in family.images:
            wanted = re.compile(pattern.format(release=re.escape(given.get("release") or "")))
            fitting = sorted(
                (each[1], each[0]) for each in images if each[2] == arch and wanted.match(each[1])
            )
            if fitting:
                return fitting[-1][1]  # names carry dates: the last one is the newest
    return None


async def resolve(ssm: Ssm, region: str, names: list[str]) -> dict[str, str]:
    """Those of `names` that stand for an image of the region, with its id."""
    wanted = [name for name in names if name.startswith(ROOT)]
    moto = next((each for each in ssm.cloud.services.values() if isinstance(each, Moto)), None)
    if not wanted or moto is None:
        return {}
    images = await moto.run(lambda: _images(moto.backend("ec2", region)))
    chosen = {name: choose(name, images) for name in wanted}
    return {name: image for name, image in chosen.items() if image}


def _images(backend: Any) -> list[tuple[str, str, str]]:
    return [
        (image.id, str(image.name), str(image.architecture))
        for image in backend.amis.values()
        if not str(image.platform or "").lower().startswith("windows")
    ]
