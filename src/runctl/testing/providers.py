"""What every provider must do: subclass ``ProviderSuite`` in a test module and say how to make one.

class TestLocal(ProviderSuite):
    @pytest.fixture
    def make(self): return lambda: LocalProvider(surroundings())  # each call is another client of the same cloud
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from runctl.core.cancel import CancelToken
from runctl.core.errors import Cancelled
from runctl.core.model import Purchase, Resources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runctl.core.model import Machine, Offer
    from runctl.core.ports import Provider

Make = Callable[[], "Provider"]
_RUNS: Iterator[int] = itertools.count(1)


def purchase(run: str = "", attempt: int = 1) -> Purchase:
    """A purchase for a run of its own, or for ``run``."""
    run = run or f"suite-{next(_RUNS)}"
    return Purchase(run, attempt, name=run, project="project", owner="owner")


class ProviderSuite:
    """Inherited tests; each takes the fixture ``make``. What was bought is given back by the test that bought it."""

    need = Resources()  # something the provider sells

    def offer(self, provider: Provider) -> Offer:
        """The first offer for ``need``."""
        return provider.offers(self.need, CancelToken())[0]

    def alive(self, provider: Provider, run: str) -> list[Machine]:
        """The machines of a run, as anybody sees them."""
        return [each for each in provider.machines(CancelToken()) if each.run_id == run]

    def test_offers_are_of_the_provider_and_the_same_when_asked_again(self, make: Make) -> None:
        """A plan made twice is one plan; asking buys nothing."""
        provider = make()
        before = provider.machines(CancelToken())
        offers = provider.offers(self.need, CancelToken())
        assert offers
        assert {each.provider for each in offers} == {provider.name}
        assert all(each.price_per_hour >= 0 and each.currency for each in offers)
        assert [*provider.offers(self.need, CancelToken())] == [*offers]
        assert [*provider.machines(CancelToken())] == [*before]

    def test_a_purchase_gives_a_machine_of_the_run_that_can_be_reached(self, make: Make) -> None:
        """Under the run's name, in the listing, with a way to reach it."""
        provider, bought = make(), purchase()
        machine = provider.acquire(self.offer(provider), bought, CancelToken())
        assert machine.run_id == bought.run_id
        assert machine.provider == provider.name
        assert machine.endpoint.transport
        if provider.features.costs_money:
            assert [each.id for each in self.alive(provider, bought.run_id)] == [machine.id]
        provider.release(machine.id, CancelToken())

    def test_repeating_a_purchase_gives_the_same_machine_to_any_client(self, make: Make) -> None:
        """As after a crash: the second client knows nothing of the first one's purchase."""
        first, bought = make(), purchase()
        offer = self.offer(first)
        ids = {client.acquire(offer, bought, CancelToken()).id for client in (first, first, make())}
        assert len(ids) == 1
        first.release(ids.pop(), CancelToken())

    def test_many_at_once_buy_one_machine(self, make: Make) -> None:
        """Thirty-two threads, one purchase."""
        provider, bought = make(), purchase()
        offer = self.offer(provider)
        ids: list[str] = []

        def buy() -> None:
            ids.append(provider.acquire(offer, bought, CancelToken()).id)

        threads = [threading.Thread(target=buy, daemon=True) for _ in range(32)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
        assert len(ids) == 32
        assert len(set(ids)) == 1
        if provider.features.costs_money:
            assert len(self.alive(provider, bought.run_id)) == 1
        provider.release(ids[0], CancelToken())

    def test_another_attempt_is_another_purchase(self, make: Make) -> None:
        """Where machines are bought, a run that was preempted gets a new one."""
        provider, first = make(), purchase()
        if not provider.features.costs_money:
            return
        offer = self.offer(provider)
        ids = {
            provider.acquire(offer, purchase(first.run_id, attempt), CancelToken()).id for attempt in (1, 2)
        }
        assert len(ids) == 2
        assert {each.id for each in self.alive(provider, first.run_id)} == ids
        for each in ids:
            provider.release(each, CancelToken())

    def test_a_release_ends_that_machine_and_no_other_and_may_be_repeated(self, make: Make) -> None:
        """Gone from the listing when it returns; what is gone already is a success."""
        provider, one, other = make(), purchase(), purchase()
        offer = self.offer(provider)
        ended = provider.acquire(offer, one, CancelToken())
        stays = provider.acquire(offer, other, CancelToken())
        provider.release(ended.id, CancelToken())
        provider.release(ended.id, CancelToken())
        make().release(ended.id, CancelToken())
        assert self.alive(provider, one.run_id) == []
        if provider.features.costs_money:
            assert [each.id for each in self.alive(provider, other.run_id)] == [stays.id]
        provider.release(stays.id, CancelToken())
        assert self.alive(provider, other.run_id) == []

    def test_a_token_that_is_set_already_buys_nothing(self, make: Make) -> None:
        """No purchase, no bill."""
        provider, bought, cancel = make(), purchase(), CancelToken()
        offer = self.offer(provider)
        cancel.cancel()
        try:
            provider.acquire(offer, bought, cancel)
        except Cancelled:
            pass
        else:
            raise AssertionError("must raise Cancelled")
        assert self.alive(provider, bought.run_id) == []
