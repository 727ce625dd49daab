"""What RunPod sells, a part of it, with prices a GPU an hour as they were published in autumn 2025.

They are for rehearsals: good enough to compare offers by, not to budget with.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Gpu(NamedTuple):
    """A GPU type: RunPod's id, its short name, GiB of memory, prices in USD (None: not sold there), most in a pod."""

    id: str
    name: str
    memory: int
    secure: float | None
    community: float | None
    most: int

    def price(self, cloud: str) -> float | None:
        """The price in `SECURE`, `COMMUNITY`, or the lower one in `ALL`; None where it is not sold."""
        prices = {"SECURE": [self.secure], "COMMUNITY": [self.community]}.get(
            cloud, [self.secure, self.community]
        )
        return min((price for price in prices if price is not None), default=None)


GPUS = (
    Gpu("NVIDIA A40", "A40", 48, 0.40, 0.35, 10),
    Gpu("NVIDIA GeForce RTX 3090", "RTX 3090", 24, 0.46, 0.22, 8),
    Gpu("NVIDIA GeForce RTX 4090", "RTX 4090", 24, 0.69, 0.34, 8),
    Gpu("NVIDIA RTX A6000", "RTX A6000", 48, 0.49, 0.33, 8),
    Gpu("NVIDIA L4", "L4", 24, 0.43, None, 8),
    Gpu("NVIDIA L40S", "L40S", 48, 0.86, 0.79, 8),
    Gpu("NVIDIA A100 80GB PCIe", "A100 PCIe", 80, 1.64, 1.19, 8),
    Gpu("NVIDIA A100-SXM4-80GB", "A100 SXM", 80, 1.74, 1.39, 8),
    Gpu("NVIDIA H100 80GB HBM3", "H100 SXM", 80, 2.99, 2.69, 8),
)
CPU_PRICE = 0.04  # USD a vCPU an hour
SPOT = 0.5  # the lowest bid, as a part of the price
DATA_CENTERS = (("US-KS-2", "NORTH_AMERICA"), ("EU-RO-1", "EUROPE"))


def find(gpu_id: str) -> Gpu | None:
    """The GPU type with this id."""
    return next((gpu for gpu in GPUS if gpu.id == gpu_id), None)


def rest(gpu: Gpu) -> dict[str, Any]:
    """A GPU type as REST v2 shows it."""
    prices = {"secure": gpu.secure, "community": gpu.community}
    return {
        "id": gpu.id,
        "name": gpu.name,
        "pool": None,
        "manufacturer": "NVIDIA",
        "memory": gpu.memory,
        "secure": gpu.secure is not None,
        "community": gpu.community is not None,
        "price": {name: price for name, price in prices.items() if price is not None},
        "maxCount": {name: gpu.most for name, price in prices.items() if price is not None},
        "availability": "HIGH",
        "dataCenters": [{"id": each, "name": each, "availability": "HIGH"} for each, _ in DATA_CENTERS],
        "cudaVersions": [],
    }


def graph(gpu: Gpu) -> dict[str, Any]:
    """A GPU type as GraphQL shows it, for one GPU."""
    low = gpu.price("ALL") or 0.0
    return {
        "id": gpu.id,
        "displayName": gpu.name,
        "manufacturer": "Nvidia",
        "memoryInGb": gpu.memory,
        "maxGpuCount": gpu.most,
        "secureCloud": gpu.secure is not None,
        "communityCloud": gpu.community is not None,
        "securePrice": gpu.secure,
        "communityPrice": gpu.community,
        "secureSpotPrice": gpu.secure and round(gpu.secure * SPOT, 3),
        "communitySpotPrice": gpu.community and round(gpu.community * SPOT, 3),
        "lowestPrice": {
            "minimumBidPrice": round(low * SPOT, 3),
            "uninterruptablePrice": low,
            "stockStatus": "High",
        },
    }
