"""From a need to a list of offers: which types fit, which price is told, in which order. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runctl.core.errors import CapacityError, RunctlError, UsageError
from runctl.core.model import Resources
from runctl.providers.aws import images, prices, types
from runctl.providers.aws.images import Image
from runctl.providers.aws.offers import TYPES, ForSale, compose, disk_gb
from runctl.providers.aws.prices import Price
from runctl.providers.aws.types import InstanceType, fitting

SHOP = [
    InstanceType("c5.large", 2, 4, "x86_64"),
    InstanceType("c7g.large", 2, 4, "arm64"),
    InstanceType("m5.2xlarge", 8, 32, "x86_64"),
    InstanceType("trn1.2xlarge", 8, 32, "x86_64", special=True),
    InstanceType("g5.xlarge", 4, 16, "x86_64", "A10G", 1, 22.35, "NVIDIA"),
    InstanceType("g5.2xlarge", 8, 32, "x86_64", "A10G", 1, 22.35, "NVIDIA"),
    InstanceType("g5.12xlarge", 48, 192, "x86_64", "A10G", 4, 22.35, "NVIDIA"),
    InstanceType("g5g.xlarge", 4, 8, "arm64", "T4g", 1, 16, "NVIDIA"),
    InstanceType("p4d.24xlarge", 96, 1152, "x86_64", "A100", 8, 40, "NVIDIA"),
    InstanceType("p4de.24xlarge", 96, 1152, "x86_64", "A100", 8, 80, "NVIDIA"),
    InstanceType("p3dn.24xlarge", 96, 768, "x86_64", "V100", 8, 32, "NVIDIA"),
    InstanceType("g7.2xlarge", 8, 32, "x86_64", "RTX PRO 4500", 1, 32, "NVIDIA"),
]


@pytest.mark.parametrize(
    ("need", "names"),
    [
        (Resources(), ["c5.large", "m5.2xlarge"]),
        (Resources(cpus=4), ["m5.2xlarge"]),
        (Resources(memory_gb=32), ["m5.2xlarge"]),
        (Resources(gpu="A10G"), ["g5.xlarge", "g5.2xlarge"]),
        (Resources(gpu="a10g", cpus=8), ["g5.2xlarge"]),
        (Resources(gpu="NVIDIA A10G", gpus=4), ["g5.12xlarge"]),
        (Resources(gpu="A10"), ["g5.xlarge", "g5.2xlarge"]),
        (Resources(gpu="A100", gpus=8), ["p4d.24xlarge", "p4de.24xlarge"]),
        (Resources(gpu="A100-80GB", gpus=8), ["p4de.24xlarge"]),
        (Resources(gpu="a100 40gb", gpus=8), ["p4d.24xlarge"]),
        (Resources(gpu="A10G-24GB"), ["g5.xlarge", "g5.2xlarge"]),
        (Resources(gpu="T4G"), ["g5g.xlarge"]),
        (Resources(gpu="rtx-pro-4500"), ["g7.2xlarge"]),
        (Resources(machine_type="trn1.2xlarge"), ["trn1.2xlarge"]),
        (Resources(machine_type="c7g.large"), ["c7g.large"]),
    ],
)
def test_what_fits(need: Resources, names: list[str]) -> None:
    assert [each.name for each in fitting(need, SHOP)] == names


@pytest.mark.parametrize(
    ("need", "code", "says"),
    [
        (Resources(gpu="A100"), "aws-no-type", "A100 comes 8 to a machine"),
        (Resources(gpu="A10G", cpus=500), "aws-no-type", "g5.12xlarge with 48 CPUs"),
        (Resources(cpus=10_000), "aws-no-type", "the largest is m5.2xlarge"),
        (Resources(gpu="L40S"), "aws-gpu-unknown", "A10G, A100, RTX PRO 4500, T4g, V100"),
    ],
)
def test_what_fits_nothing_says_what_comes_closest(need: Resources, code: str, says: str) -> None:
    with pytest.raises(RunctlError) as refused:
        fitting(need, SHOP)
    assert refused.value.code == code
    assert isinstance(refused.value, CapacityError if code == "aws-no-type" else UsageError)
    assert not refused.value.transient
    assert says.split(", ", maxsplit=1)[0] in refused.value.why


def test_a_misspelt_gpu_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError) as refused:
        fitting(Resources(gpu="A1000"), SHOP)
    assert "--gpu A100 " in refused.value.fix[0]


def api(name: str, **more: Any) -> dict[str, Any]:
    return {
        "InstanceType": name,
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
        "SupportedRootDeviceTypes": ["ebs"],
        "SupportedUsageClasses": ["on-demand", "spot"],
        "VCpuInfo": {"DefaultVCpus": 4},
        "MemoryInfo": {"SizeInMiB": 16384},
        "BareMetal": False,
        **more,
    }


def test_a_type_is_read_from_what_ec2_says() -> None:
    card = {"Name": "A10G", "Manufacturer": "NVIDIA", "Count": 1, "MemoryInfo": {"SizeInMiB": 24576}}
    made = types.from_api(api("g5.xlarge", GpuInfo={"Gpus": [card]}))
    assert made == InstanceType("g5.xlarge", 4, 16, "x86_64", "A10G", 1, 24, "NVIDIA")
    assert types.from_api(api("g6f.xlarge", GpuInfo={"Gpus": [card | {"Count": 0}]})) is None
    assert types.from_api(api("m5.metal", BareMetal=True)) is None
    assert types.from_api(api("mac2.metal", ProcessorInfo={"SupportedArchitectures": ["arm64_mac"]})) is None
    assert types.from_api(api("p5e.48xlarge", SupportedUsageClasses=["capacity-block"])) is None
    special = types.from_api(api("trn1.2xlarge", NeuronInfo={}))
    assert special is not None
    assert special.special


def test_questions_bring_little() -> None:
    def values(need: Resources, name: str) -> list[str]:
        return next(each["Values"] for each in types.query(need)["Filters"] if each["Name"] == name)

    assert types.query(Resources(machine_type="t3.micro")) == {"InstanceTypes": ["t3.micro"]}
    assert values(Resources(gpu="L4"), "instance-type") == ["g*", "p*"]
    assert values(Resources(cpus=8), "vcpu-info.default-vcpus") == ["8", "12", "16", "24", "32"]
    assert "32" in values(Resources(memory_gb=256), "vcpu-info.default-vcpus")
    assert values(Resources(), "burstable-performance-supported") == ["false"]


def sale(
    machines: list[InstanceType],
    *,
    on_demand: dict[str, str],
    spot: dict[tuple[str, str], str],
    regions: tuple[str, ...] = ("us-east-1",),
    disk: str = "0",
) -> ForSale:
    return ForSale(
        types=dict.fromkeys(regions, machines),
        zones={(region, m.name): [region + "a", region + "b"] for region in regions for m in machines},
        on_demand={
            (region, name): Price(Decimal(p), "USD", "list")
            for region in regions
            for name, p in on_demand.items()
        },
        spot={
            (region, name, region + zone): Price(Decimal(p), "USD", "history")
            for region in regions
            for (name, zone), p in spot.items()
        },
        disk={region: Price(Decimal(disk), "USD", "list") for region in regions},
        images={(region, m.name): Image("ami-1", "/dev/xvda", 8) for region in regions for m in machines},
    )


def brief(offers: Any) -> list[tuple[str, str, bool, str]]:
    return [(o.machine_type, o.zone, o.spot, str(o.price_per_hour)) for o in offers]


TWO = [SHOP[4], SHOP[5]]
BOTH = {"g5.xlarge": "1", "g5.2xlarge": "1.2"}
SPOT = {("g5.xlarge", "b"): "0.4", ("g5.2xlarge", "a"): "0.3", ("g5.2xlarge", "b"): "1.1"}


def test_on_demand_goes_by_price_then_by_the_order_of_regions() -> None:
    offers = compose(Resources(), sale(TWO, on_demand=BOTH, spot=SPOT, regions=("us-west-2", "us-east-1")))
    assert brief(offers)[:5] == [
        ("g5.xlarge", "us-west-2a", False, "1.0000"),
        ("g5.xlarge", "us-west-2b", False, "1.0000"),
        ("g5.xlarge", "us-east-1a", False, "1.0000"),
        ("g5.xlarge", "us-east-1b", False, "1.0000"),
        ("g5.2xlarge", "us-west-2a", False, "1.2000"),
    ]
    assert not any(each.spot for each in offers)


def test_spot_comes_first_and_only_where_it_is_a_bargain() -> None:
    offers = brief(compose(Resources(spot=True), sale(TWO, on_demand=BOTH, spot=SPOT)))
    assert offers[:3] == [
        ("g5.2xlarge", "us-east-1a", True, "0.3000"),
        ("g5.xlarge", "us-east-1b", True, "0.4000"),
        ("g5.xlarge", "us-east-1a", False, "1.0000"),
    ]
    assert ("g5.2xlarge", "us-east-1b", True, "1.1000") not in offers


def test_without_fallback_only_spot_is_offered_at_any_price() -> None:
    offers = brief(compose(Resources(spot=True, fallback=False), sale(TWO, on_demand=BOTH, spot=SPOT)))
    assert len(offers) == 3
    assert offers[-1] == ("g5.2xlarge", "us-east-1b", True, "1.1000")


def test_an_offer_says_what_it_is_and_what_its_disk_adds() -> None:
    shop = sale(TWO[:1], on_demand=BOTH, spot=SPOT, disk="0.073")
    [first, *_] = compose(Resources(disk_gb=200), shop)
    assert first.price_per_hour == Decimal("1.0200")  # 0.073 a month is 0.0001 an hour, 200 times
    assert first.price_source == "list, with 200 GB of disk"
    assert (first.cpus, first.memory_gb, first.gpu, first.gpus) == (4, 16, "A10G", 1)
    assert (first.arch, first.image, first.currency, first.provider) == ("x86_64", "ami-1", "USD", "aws")


def test_what_has_no_price_zone_or_image_is_not_offered() -> None:
    whole = sale(TWO, on_demand={"g5.xlarge": "1"}, spot={})
    assert {each.machine_type for each in compose(Resources(), whole)} == {"g5.xlarge"}
    bare = ForSale(whole.types, {}, whole.on_demand, {}, {}, whole.images)
    assert compose(Resources(), bare) == []
    assert compose(Resources(), ForSale(whole.types, whole.zones, whole.on_demand, {}, {}, {})) == []
    assert {o.zone for o in compose(Resources(), whole, only_zone="us-east-1b")} == {"us-east-1b"}


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.decimals(Decimal("0.01"), 90, places=4)),
        unique_by=lambda pair: pair[0],
        min_size=1,
    )
)
def test_any_sale_is_ordered_complete_and_bounded(priced: list[tuple[int, Decimal]]) -> None:
    machines = [InstanceType(f"m{n}.large", 2, 4, "x86_64") for n, _ in priced]
    shop = sale(machines, on_demand={f"m{n}.large": str(price) for n, price in priced}, spot={})
    offers = compose(Resources(), shop)
    assert [o.price_per_hour for o in offers] == sorted(o.price_per_hour for o in offers)
    assert len(offers) == 2 * min(TYPES, len(priced))
    assert compose(Resources(), shop) == offers


def test_the_disk_is_sized_to_the_need() -> None:
    assert disk_gb(None, gpus=0) == 30
    assert disk_gb(None, gpus=1) == 100
    assert disk_gb(12.5, gpus=1) == 13
    assert disk_gb(10, gpus=0, least_gb=65) == 65


def test_the_table_says_of_when_it_is_and_when_it_guesses() -> None:
    as_of = prices.table()["as_of"]
    here = prices.remembered("g5.xlarge", "us-east-1", gpu=True)
    there = prices.remembered("g5.xlarge", "eu-central-1", gpu=True)
    assert here is not None
    assert there is not None
    assert (here.amount, here.source) == (Decimal("1.006"), f"table of {as_of}")
    assert there.amount > here.amount
    assert there.source == f"table of {as_of}, estimated for the region"
    assert prices.remembered("g99.huge", "us-east-1", gpu=True) is None
    assert prices.remembered("g5.xlarge", "mars-1", gpu=True) is None
    assert prices.remembered_disk("mars-1") is None


def test_the_newest_spot_price_of_a_place_counts() -> None:
    def entry(zone: str, price: str, at: str) -> dict[str, str]:
        return {"InstanceType": "g5.xlarge", "AvailabilityZone": zone, "SpotPrice": price, "Timestamp": at}

    rows = prices.latest_spot(
        [entry("a", "0.5", "2026-02"), entry("b", "0.4", "2026-01"), entry("a", "0.6", "2026-01")]
    )
    assert rows == [["g5.xlarge", "a", "0.5"], ["g5.xlarge", "b", "0.4"]]


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        (SHOP[0], "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"),
        (SHOP[1], "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"),
        (
            SHOP[4],
            "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id",
        ),
        (
            SHOP[7],
            "/aws/service/deeplearning/ami/arm64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id",
        ),
        (SHOP[10], None),
    ],
)
def test_the_image_goes_by_processor_and_gpu(machine: InstanceType, name: str | None) -> None:
    assert images.parameter(machine) == name
