"""Instance types as facts, which of them fit a need, and GPUs under the names people give them. Pure."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runctl.core.model import Resources

# Without any wish for a machine without GPU: less than this installs no framework.
LEAST_CPUS, LEAST_MEMORY_GB = 2, 4.0
CANDIDATES = 30  # types that are priced for one need: one filter of the price list takes them all
_SIZES = (
    1,
    2,
    4,
    6,
    8,
    12,
    16,
    24,
    32,
    36,
    40,
    48,
    64,
    72,
    96,
    112,
    128,
    144,
    160,
    192,
    224,
    256,
    288,
    320,
    384,
    448,
)
_GIB = 1024  # MiB
_SPECIAL = ("FpgaInfo", "InferenceAcceleratorInfo", "MediaAcceleratorInfo", "NeuronInfo")
_NOISE = re.compile(r"NVIDIA|TESLA|SERVER|[\s_-]")
_ALIASES = {"A10": "A10G"}  # the card AWS has under the name people use for its sibling
_WITH_MEMORY = re.compile(r"(.+?)[\s_-](\d+)\s*G(?:I?B)?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class InstanceType:
    """One type of machine. ``gpu_memory_gb`` is that of one GPU, in GiB; ``memory_gb`` likewise."""

    name: str
    cpus: int
    memory_gb: float
    arch: str  # x86_64, arm64
    gpu: str = ""
    gpus: int = 0
    gpu_memory_gb: float = 0.0
    gpu_maker: str = ""
    spot: bool = True
    special: bool = False  # has a processor beside the CPU that is no GPU: taken only by name


def from_api(answer: Mapping[str, Any]) -> InstanceType | None:
    """One entry of ``DescribeInstanceTypes``; None for what no training runs on: other processors, slices of a GPU."""
    arches = [
        each for each in answer["ProcessorInfo"]["SupportedArchitectures"] if each in ("x86_64", "arm64")
    ]
    cards = answer.get("GpuInfo", {}).get("Gpus", [])
    sliced = any(not card.get("Count") for card in cards)
    if not arches or sliced or answer.get("BareMetal") or "ebs" not in answer["SupportedRootDeviceTypes"]:
        return None
    usage = answer.get("SupportedUsageClasses", ())
    if "on-demand" not in usage:
        return None
    return InstanceType(
        name=answer["InstanceType"],
        cpus=int(answer["VCpuInfo"]["DefaultVCpus"]),
        memory_gb=answer["MemoryInfo"]["SizeInMiB"] / _GIB,
        arch=arches[0],
        gpu=cards[0]["Name"] if cards else "",
        gpus=sum(int(card["Count"]) for card in cards),
        gpu_memory_gb=cards[0]["MemoryInfo"]["SizeInMiB"] / _GIB if cards else 0.0,
        gpu_maker=cards[0]["Manufacturer"] if cards else "",
        spot="spot" in usage,
        special=any(name in answer for name in _SPECIAL),
    )


def query(need: Resources) -> dict[str, Any]:
    """The parameters of ``DescribeInstanceTypes`` that bring what could fit, and not all fourteen hundred types."""
    if need.machine_type:
        return {"InstanceTypes": [need.machine_type]}
    if need.gpu:
        # every family of EC2 with GPUs begins with one of these letters; their generation is the user's choice
        return _filters({"instance-type": ["g*", "p*"], "bare-metal": ["false"]})
    cpus, memory_gb = _least(need)
    low = max(cpus, math.ceil(memory_gb / 32))  # no family has more memory to a CPU than 32 GiB
    high = max(cpus * 4, math.ceil(memory_gb / 2))
    return _filters(
        {
            "bare-metal": ["false"],
            "burstable-performance-supported": [
                "false"
            ],  # training would use up their credits, and then pay extra
            "current-generation": ["true"],
            "processor-info.supported-architecture": [
                "x86_64"
            ],  # wheels exist for it, whatever the project needs
            "vcpu-info.default-vcpus": [str(size) for size in _SIZES if low <= size <= high],
        }
    )


def _filters(wanted: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {"Filters": [{"Name": name, "Values": list(values)} for name, values in wanted.items()]}


def _least(need: Resources) -> tuple[int, float]:
    if need.machine_type or need.gpu:
        return need.cpus or 0, need.memory_gb or 0.0
    return need.cpus or LEAST_CPUS, need.memory_gb or LEAST_MEMORY_GB


def fitting(need: Resources, types: Iterable[InstanceType]) -> list[InstanceType]:
    """The types that fit, smallest first, at most ``CANDIDATES``.

    A GPU's number is met exactly, CPUs and memory at least. ARM machines are taken only where there is no other.

    Raises:
        RunctlError: ``aws-gpu-unknown``, ``aws-no-type`` with what comes closest.
    """
    there = {each.name: each for each in types}.values()  # regions overlap
    cpus, memory_gb = _least(need)
    with_gpu = [each for each in there if _has_gpu(need, each)]
    found = [
        each
        for each in with_gpu
        if each.cpus >= cpus
        and each.memory_gb >= memory_gb
        and (not need.gpu or each.gpus == need.gpus)
        and (need.machine_type in (None, "", each.name))
    ]
    found = [each for each in found if each.arch == "x86_64"] or found
    if not found:
        if need.gpu and not with_gpu:
            raise _unknown_gpu(need.gpu, there)
        raise known("aws-no-type", need=words(need), closest=_closest(need, with_gpu))
    return sorted(found, key=lambda each: (each.gpus, each.cpus, each.memory_gb, each.name))[:CANDIDATES]


def _has_gpu(need: Resources, each: InstanceType) -> bool:
    if not need.gpu:
        return bool(need.machine_type) or not (each.gpus or each.special)
    return is_called(need.gpu, each)


def is_called(said: str, each: InstanceType) -> bool:
    """Whether people mean the GPU of ``each`` by ``said``: ``a10g``, ``NVIDIA A100``, ``A100-80GB``."""
    if _plain(said) == _plain(each.gpu):
        return True
    with_memory = _WITH_MEMORY.match(said)
    if with_memory is None:
        return False
    wanted = float(with_memory.group(2))
    # what is sold as 24 GB has 22.4 GiB
    return _plain(with_memory.group(1)) == _plain(each.gpu) and 0.9 <= each.gpu_memory_gb / wanted <= 1.1


def _plain(name: str) -> str:
    plain = _NOISE.sub("", name.upper())
    return _ALIASES.get(plain, plain)


def _unknown_gpu(said: str, there: Iterable[InstanceType]) -> Exception:
    names = sorted({each.gpu for each in there if each.gpu})
    plain = {_plain(name): name for name in names}
    near = difflib.get_close_matches(_plain(said), plain, n=1)
    return known(
        "aws-gpu-unknown",
        gpu=said,
        gpus=", ".join(names) or "none",
        near=plain[near[0]] if near else (names[0] if names else "NAME"),
    )


def _closest(need: Resources, with_gpu: Sequence[InstanceType]) -> str:
    """What comes closest to a need that nothing meets, in words."""
    if need.gpu:
        counts = sorted({each.gpus for each in with_gpu})
        if need.gpus not in counts:
            return f"{need.gpu} comes {', '.join(map(str, counts))} to a machine"
    largest = max(with_gpu, key=lambda each: (each.cpus, each.memory_gb), default=None)
    if largest is None:
        return "nothing is sold there"
    return f"the largest is {largest.name} with {largest.cpus} CPUs and {largest.memory_gb:g} GB"


def words(need: Resources) -> str:
    """A need in words: ``1 x A10G, 8 CPUs``."""
    said = [
        need.machine_type or "",
        f"{need.gpus} x {need.gpu}" if need.gpu else "",
        f"{need.cpus} CPUs" if need.cpus else "",
        f"{need.memory_gb:g} GB of memory" if need.memory_gb else "",
    ]
    return ", ".join(filter(None, said)) or f"{LEAST_CPUS} CPUs, {LEAST_MEMORY_GB:g} GB of memory"
