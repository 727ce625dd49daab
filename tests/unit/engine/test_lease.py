"""Nothing ever left billing unnoticed: every way a lease can go wrong, and what the ledger says afterwards."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from runctl.core.cancel import CancelToken
from runctl.core.catalogue import known
from runctl.core.errors import AccessError, Cancelled, CapacityError, ReleaseOwed
from runctl.core.events import Event, Notice
from runctl.core.model import Machine, Offer, Purchase, Resources
from runctl.engine.lease import lease, settle
from runctl.engine.ledger import Ledger
from runctl.testing.clock import FakeClock
from runctl.testing.cloud import FakeCloud
from runctl.testing.surroundings import surroundings


class Bench:
    def __init__(self, folder: Path) -> None:
        self.cloud = FakeCloud()
        self.ledger = Ledger(folder / "ledger.jsonl", FakeClock())
        self.events: list[Event] = []
        self.cancel = CancelToken()
        self.offer: Offer = self.cloud.offers(Resources(), self.cancel)[0]

    def lease(self, run: str = "run-1"):
        return lease(
            self.cloud,
            [self.offer],
            Purchase(run),
            ledger=self.ledger,
            emit=self.events.append,
            clock=FakeClock(),
            cancel=self.cancel,
        )

    @property
    def owed(self) -> list[str]:
        return [debt.run_id for debt in self.ledger.debts()]

    def settle(self, run: str = "run-1") -> None:
        settle(
            self.cloud,
            run,
            ledger=self.ledger,
            emit=self.events.append,
            cancel=CancelToken(),
            fate_known=True,
            failing=False,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_lease_ends_with_its_block_and_owes_nothing(bench: Bench) -> None:
    with bench.lease() as held:
        assert bench.owed == ["run-1"]
        assert bench.ledger.debts()[0].machine_id == held.machine.id
    assert not bench.cloud.alive
    assert bench.owed == []


def test_a_machine_that_is_kept_stays_a_debt_and_says_what_it_costs(bench: Bench) -> None:
    with pytest.raises(Cancelled), bench.lease() as held:
        held.keep()
        raise Cancelled
    with bench.lease("run-2") as held:
        held.keep()
    assert len(bench.cloud.alive) == 2
    assert bench.owed == ["run-1", "run-2"]
    assert any(isinstance(event, Notice) and "0.5 USD an hour" in event.text for event in bench.events)


def test_the_debt_is_on_disk_before_anything_is_bought(bench: Bench, tmp_path: Path) -> None:
    seen: list[str] = []
    bench.cloud.during_acquire = lambda machine: seen.append((tmp_path / "ledger.jsonl").read_text())
    with bench.lease():
        pass
    assert '"owed"' in seen[0]


def test_a_refused_purchase_owes_nothing(bench: Bench) -> None:
    def refuse(machine: Machine) -> None:
        bench.cloud.alive.clear()
        raise CapacityError("no-capacity", what="none left")

    bench.cloud.during_acquire = refuse
    with pytest.raises(CapacityError), bench.lease():
        pass
    assert bench.owed == []


def test_cancel_while_buying_releases_by_tag(bench: Bench) -> None:
    def cancelled(machine: Machine) -> None:
        raise Cancelled

    bench.cloud.during_acquire = cancelled
    with pytest.raises(Cancelled), bench.lease():
        pass
    assert not bench.cloud.alive  # the handle was never returned; the tag was enough
    assert bench.owed == []


def test_a_purchase_that_lands_after_a_timeout_stays_a_debt_until_it_is_paid(bench: Bench) -> None:
    late: list[Machine] = []

    def times_out(machine: Machine) -> None:
        late.append(bench.cloud.alive.pop(machine.id))
        raise TimeoutError("no answer")

    bench.cloud.during_acquire = times_out
    with pytest.raises(TimeoutError), bench.lease():
        pass
    assert bench.owed == ["run-1"]  # an empty listing proves nothing
    assert any(isinstance(event, Notice) and "runctl clean" in event.text for event in bench.events)
    bench.cloud.alive[late[0].id] = late[0]
    bench.settle()
    assert not bench.cloud.alive
    assert bench.owed == []


def test_a_failing_release_does_not_replace_the_error_that_was_on_its_way(bench: Bench) -> None:
    def denied(machine_id: str) -> None:
        raise known("release-owed", run="run-1", provider="fake", detail="denied")

    bench.cloud.during_release = denied
    with pytest.raises(ValueError, match="training"), bench.lease():
        raise ValueError("training broke")
    assert bench.owed == ["run-1"]


def test_a_failing_release_after_a_good_run_is_an_error_of_its_own(bench: Bench) -> None:
    def broken(machine_id: str) -> None:
        raise OSError("link down")

    bench.cloud.during_release = broken
    with pytest.raises(ReleaseOwed) as caught, bench.lease():
        pass
    assert caught.value.exit_code == 7
    assert bench.owed == ["run-1"]


def test_releasing_touches_only_this_runs_machines(bench: Bench) -> None:
    neighbour = bench.cloud.acquire(bench.offer, Purchase("run-2"), bench.cancel)
    with bench.lease():
        pass
    assert list(bench.cloud.alive) == [neighbour.id]


def test_a_client_killed_at_any_moment_leaves_a_debt_that_can_be_read(tmp_path: Path) -> None:
    script = f"""
import os
from pathlib import Path
from runctl.core.cancel import CancelToken
from runctl.core.clock import SystemClock
from runctl.core.model import Purchase, Resources
from runctl.engine.lease import lease
from runctl.engine.ledger import Ledger
from runctl.testing.cloud import FakeCloud
cloud = FakeCloud()
cloud.during_acquire = lambda machine: os.kill(os.getpid(), 9)
ledger = Ledger(Path({str(tmp_path / "ledger.jsonl")!r}), SystemClock())
offers = cloud.offers(Resources(), CancelToken())
with lease(
    cloud, offers, Purchase("run-9"), ledger=ledger, emit=print, clock=SystemClock(), cancel=CancelToken()
):
    pass
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert [debt.run_id for debt in Ledger(tmp_path / "ledger.jsonl", FakeClock()).debts()] == ["run-9"]


def test_a_torn_line_hides_no_debt(tmp_path: Path, bench: Bench) -> None:
    bench.ledger.owe("run-1", bench.offer)
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write('{"entry": "owed", "run": "to')
    bench.ledger.owe("run-2", bench.offer)
    assert bench.owed == ["run-1", "run-2"]


def test_a_free_machine_writes_no_debt(tmp_path: Path) -> None:
    from runctl.providers.local import LocalProvider

    ledger = Ledger(tmp_path / "ledger.jsonl", FakeClock())
    cancel = CancelToken()
    local = LocalProvider(surroundings())
    offers = local.offers(Resources(), cancel)
    with lease(
        local,
        offers,
        Purchase("r"),
        ledger=ledger,
        emit=lambda event: None,
        clock=FakeClock(),
        cancel=cancel,
    ) as held:
        assert held.machine.id == "local"
    assert not (tmp_path / "ledger.jsonl").exists()


def test_a_ledger_that_cannot_be_written_stops_the_purchase(bench: Bench, tmp_path: Path) -> None:
    bench.ledger = Ledger(tmp_path / "ledger.jsonl" / "no" / "folder", FakeClock())
    (tmp_path / "ledger.jsonl").write_text("")
    with pytest.raises(Exception) as caught, bench.lease():
        pass
    assert getattr(caught.value, "code", "") == "state-unwritable"
    assert not bench.cloud.alive


def walk(bench: Bench, refusals: dict[str, Exception], *, allow: bool = True):
    """A lease over three offers; those named in ``refusals`` are refused so. Yields what was tried."""
    offers = [
        Offer("fake", kind, "here", Decimal(price), spot=spot)
        for kind, price, spot in (("a", "1", True), ("b", "2", True), ("c", "3", False))
    ]
    tried: list[str] = []
    acquire = bench.cloud.acquire

    def refuse(offer: Offer, purchase: Purchase, cancel: CancelToken) -> Machine:
        tried.append(offer.machine_type)
        if offer.machine_type in refusals:
            raise refusals[offer.machine_type]
        return acquire(offer, purchase, cancel)

    bench.cloud.acquire = refuse  # type: ignore[method-assign]
    asked: list[tuple[str, str]] = []

    def ask(offer: Offer, instead_of: Offer) -> bool:
        asked.append((offer.machine_type, instead_of.machine_type))
        return allow

    held = lease(
        bench.cloud,
        offers,
        Purchase("run-1"),
        ledger=bench.ledger,
        emit=bench.events.append,
        clock=FakeClock(),
        cancel=bench.cancel,
        allow=ask,
    )
    return held, tried, asked


NONE_LEFT = known("no-capacity", tried="a", detail="none left")


def test_an_offer_without_capacity_gives_way_to_the_next_and_that_is_said(bench: Bench) -> None:
    held, tried, asked = walk(bench, {"a": NONE_LEFT})
    with held as got:
        assert got.machine.offer.machine_type == "b"
        assert bench.owed == ["run-1"]
    assert (tried, asked, bench.owed) == (["a", "b"], [], [])
    assert any(isinstance(event, Notice) and "trying b" in event.text for event in bench.events)


def test_on_demand_instead_of_spot_is_asked_for(bench: Bench) -> None:
    held, tried, asked = walk(bench, {"a": NONE_LEFT, "b": NONE_LEFT})
    with held as got:
        assert got.machine.offer.machine_type == "c"
    assert (tried, asked) == (["a", "b", "c"], [("c", "a")])
    held, tried, _ = walk(bench, {"a": NONE_LEFT, "b": NONE_LEFT}, allow=False)
    with pytest.raises(CapacityError) as caught, held:
        pass
    assert caught.value.code == "no-capacity"
    assert tried == ["a", "b"]
    assert bench.owed == []


def test_capacity_nowhere_is_one_error_that_names_what_was_tried(bench: Bench) -> None:
    held, tried, _ = walk(bench, dict.fromkeys("abc", NONE_LEFT))
    with pytest.raises(CapacityError) as caught, held:
        pass
    assert tried == ["a", "b", "c"]
    assert all(kind in str(caught.value.context["tried"]) for kind in "abc")
    assert bench.owed == []


def test_a_quota_or_a_missing_right_is_not_walked_past(bench: Bench) -> None:
    quota = CapacityError("quota", what="your limit is 0", transient=False)
    for refusal in (quota, AccessError("access", what="not allowed")):
        held, tried, _ = walk(bench, {"a": refusal})
        with pytest.raises(type(refusal)), held:
            pass
        assert tried == ["a"]
        assert bench.owed == []


def test_a_refusal_strikes_only_what_this_purchase_owed(bench: Bench) -> None:
    bench.ledger.owe("run-1", bench.offer)
    bench.ledger.bought("run-1", "m-9")
    held, _, _ = walk(bench, {"a": AccessError("access", what="may not look")})
    with pytest.raises(AccessError), held:
        pass
    assert bench.owed == ["run-1"]
