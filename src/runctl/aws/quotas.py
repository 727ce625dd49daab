"""The vCPU quotas of EC2 by family of machine types: which one a type counts against, what it allows.

Codes as listed by ``aws service-quotas list-service-quotas --service-code ec2`` and the EC2 user guide
("Amazon EC2 On-Demand Instances", "Spot Instance quotas"). Quotas are in vCPUs, per region, and spot has its own.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SERVICE = "ec2"


class Quota(NamedTuple):
    """One quota: its code and what it is called."""

    code: str
    name: str


_STANDARD = "standard"
_QUOTAS: dict[str, tuple[Quota, Quota | None]] = {  # family → (on demand, spot)
    _STANDARD: (
        Quota("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"),
        Quota("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"),
    ),
    "g": (
        Quota("L-DB2E81BA", "Running On-Demand G and VT instances"),
        Quota("L-3819A6DF", "All G and VT Spot Instance Requests"),
    ),
    "p": (
        Quota("L-417A185B", "Running On-Demand P instances"),
        Quota("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
    ),
    "p5": (
        Quota("L-417A185B", "Running On-Demand P instances"),
        Quota("L-C4BD4855", "All P5 Spot Instance Requests"),
    ),
    "p6": (Quota("L-417A185B", "Running On-Demand P instances"), None),  # spot: not documented
    "f": (
        Quota("L-74FC7D96", "Running On-Demand F instances"),
        Quota("L-88CF9481", "All F Spot Instance Requests"),
    ),
    "inf": (
        Quota("L-1945791B", "Running On-Demand Inf instances"),
        Quota("L-B5D1601B", "All Inf Spot Instance Requests"),
    ),
    "trn": (
        Quota("L-2C3B7624", "Running On-Demand Trn instances"),
        Quota("L-6B0D517C", "All Trn Spot Instance Requests"),
    ),
    "dl": (
        Quota("L-6E869C2A", "Running On-Demand DL instances"),
        Quota("L-85EED4F7", "All DL Spot Instance Requests"),
    ),
    "x": (
        Quota("L-7295265B", "Running On-Demand X instances"),
        Quota("L-E3A00192", "All X Spot Instance Requests"),
    ),
}
SAMPLES = {
    "standard": "m7i.large",
    "G": "g5.xlarge",
    "P": "p4d.24xlarge",
}  # a type of each of the usual families
_LETTERS = {
    "vt": "g",
    "g": "g",
    "gr": "g",
    "p": "p",
    "f": "f",
    "inf": "inf",
    "trn": "trn",
    "dl": "dl",
    "x": "x",
}
_STANDARD_LETTERS = frozenset(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"))
_TYPE = re.compile(r"([a-z]+)(\d+)")


def family(machine_type: str) -> str:
    """The family whose quota a type counts against; empty when nobody told us. Pure."""
    found = _TYPE.match(machine_type)
    if found is None:
        return ""
    letters, generation = found.groups()
    if letters in _STANDARD_LETTERS:
        return _STANDARD
    known = _LETTERS.get(letters, "")
    if known == "p" and int(generation) >= 5:
        return "p5" if generation == "5" else "p6"
    return known


def quota_of(machine_type: str, *, spot: bool) -> Quota | None:
    """The quota that bounds a type; None for a family that is not in the table. Pure."""
    found = _QUOTAS.get(family(machine_type))
    return None if found is None else found[spot]


def console(region: str, quota: Quota) -> str:
    """Where a person asks for more."""
    return (
        f"https://{region}.console.aws.amazon.com/servicequotas/home/services/{SERVICE}/quotas/{quota.code}"
    )
