"""One call of an AWS service: on a thread of its own so that a cancel is heard at once, retried, said, translated."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from runctl.aws import errors
from runctl.aws.session import AwsSession, Identity
from runctl.core.cancel import SLICE
from runctl.core.errors import Cancelled
from runctl.core.events import CommandRun, Notice
from runctl.core.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from runctl.core.cancel import CancelToken
    from runctl.core.clock import Clock
    from runctl.core.errors import RunctlError
    from runctl.core.events import Emit
    from runctl.core.ports import Surroundings
    from runctl.core.retry import Failure

T = TypeVar("T")

# (token of the request, token of the answer) where it is not NextToken both ways
_TOKENS = {
    ("s3", "list_objects_v2"): ("ContinuationToken", "NextContinuationToken"),
    ("s3", "list_multipart_uploads"): ("KeyMarker", "NextKeyMarker"),
    ("s3", "list_parts"): ("PartNumberMarker", "NextPartNumberMarker"),
}


@dataclass
class AwsCalls:
    """Calls of AWS services. May be used from several threads.

    Args:
        session: where clients come from.
        policy: how patient each call is.
        emit: hears of every attempt (``CommandRun``) and every retry (``Notice`` of level ``detail``).
        clock: for durations and delays.
        random: draws the jitter.
    """

    session: AwsSession
    policy: RetryPolicy
    emit: Emit
    clock: Clock
    random: Random = field(default_factory=Random)

    @classmethod
    def of(cls, surroundings: Surroundings) -> AwsCalls:
        """The calls of an adapter; adapters with the same ``surroundings.shared`` share one session."""
        session = surroundings.shared.get("aws") or AwsSession(surroundings.setting)
        return cls(
            surroundings.shared.setdefault("aws", session),
            policy=RetryPolicy(
                attempts=int(surroundings.setting("retries.attempts")),
                deadline_seconds=surroundings.setting("retries.deadline_seconds"),
            ),
            emit=surroundings.emit,
            clock=surroundings.clock,
            random=surroundings.random,
        )

    def client(self, service: str, region: str | None = None) -> Any:
        """The raw client, for what ``do`` is given. Raises what it means, in our words."""
        try:
            return self.session.client(service, region)
        except Exception as error:
            raise self._translated(error, service, "", region) from error

    def call(
        self,
        service: str,
        operation: str,
        *,
        cancel: CancelToken,
        region: str | None = None,
        once: bool = False,
        repeat_on: Collection[str] = (),
        **params: Any,
    ) -> dict[str, Any]:
        """The answer of ``client(service).operation(**params)``, tried again as the policy says.

        A cancel is heard within ``cancel.SLICE``; the attempt in flight is then left to end by itself, at the latest
        after its timeouts, and whether it took effect is not known.

        Args:
            service: boto3's name, as in ``ec2``.
            operation: boto3's name, as in ``run_instances``.
            cancel: ends the wait.
            region: another one than the session's.
            once: the call must not take effect twice: only failures that prove it did not are tried again.
            repeat_on: error codes that are worth another try here, as ``InvalidInstanceID.NotFound`` just after a launch.
            params: of the operation.

        Raises:
            RunctlError: what the failure means, from ``aws.errors``; its cause is the vendor's exception. The fact
                ``unclear`` counts attempts that may have taken effect although they failed.
            Cancelled: the token was set.
        """
        answer: dict[str, Any] = self.do(
            service,
            operation,
            lambda client: getattr(client, operation)(**params),
            cancel=cancel,
            region=region,
            once=once,
            repeat_on=repeat_on,
        )
        return answer

    def pages(
        self, service: str, operation: str, *, cancel: CancelToken, region: str | None = None, **params: Any
    ) -> Iterator[dict[str, Any]]:
        """Every page of a listing, each asked for when it is needed. Raises as ``call`` does."""
        sent, got = _TOKENS.get(
            (service, operation), ("Marker", "Marker") if service == "iam" else ("NextToken", "NextToken")
        )
        while True:
            page = self.call(service, operation, cancel=cancel, region=region, **params)
            yield page
            if not page.get(got):
                return
            params[sent] = page[got]

    def do(
        self,
        service: str,
        operation: str,
        work: Callable[[Any], T],
        *,
        cancel: CancelToken,
        region: str | None = None,
        once: bool = False,
        repeat_on: Collection[str] = (),
    ) -> T:
        """As ``call``, for work that is more than one method: ``work`` gets the client and may read a body to its end.

        ``work`` is run again from its beginning on another thread when an attempt fails or is cancelled: it must not
        leave halves where others see them.
        """
        client = self.client(service, region)
        begun = self.clock.monotonic()
        failures: dict[Failure, int] = {}
        unclear = 0
        while True:
            cancel.check()
            error = self._attempt(client, service, operation, work, cancel)
            if not isinstance(error, _Failed):
                return error
            failure = errors.failure_of(error.error, once=once, repeat_on=repeat_on)
            failures[failure] = failures.get(failure, 0) + 1
            unclear += errors.may_have_happened(error.error)
            delay = self.policy.delay(
                failure,
                failures=failures[failure],
                elapsed=self.clock.monotonic() - begun,
                draw=self.random.random(),
            )
            if delay is None:
                told = self._translated(error.error, service, operation, region, cancel)
                if (attempts := sum(failures.values())) > 1:
                    told.add_context(attempts=attempts)
                if unclear:
                    told.add_context(unclear=unclear)
                raise told from error.error
            self._say_retry(service, operation, error.error, delay, sum(failures.values()))
            self.clock.sleep(delay, cancel)

    def identity(self, cancel: CancelToken) -> Identity:
        """Who calls, asked once. Raises as ``call`` does."""
        if self.session.identity is None:
            answer = self.call("sts", "get_caller_identity", cancel=cancel)
            self.session.identity = Identity(account=answer["Account"], arn=answer["Arn"])
        return self.session.identity

    def _attempt(
        self, client: Any, service: str, operation: str, work: Callable[[Any], T], cancel: CancelToken
    ) -> T | _Failed:
        """One attempt on a daemon thread; waits for it in slices."""
        box: list[T | _Failed] = []
        done = threading.Event()

        def run() -> None:
            try:
                box.append(work(client))
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                box.append(_Failed(error))
            finally:
                done.set()

        begun = self.clock.monotonic()
        threading.Thread(target=run, name=f"{service}:{operation}", daemon=True).start()
        while not done.wait(SLICE):
            if cancel.cancelled:
                break
        code = int(isinstance(box[0], _Failed)) if box else None
        said = ("aws", errors.action_of(service, operation), client.meta.region_name)
        self.emit(CommandRun(said, "here", self.clock.monotonic() - begun, code))
        if not box:
            raise Cancelled(what=cancel.reason)
        return box[0]

    def _say_retry(
        self, service: str, operation: str, error: BaseException, delay: float, failed: int
    ) -> None:
        action, cause = errors.action_of(service, operation), errors.in_short(error)
        self.emit(
            Notice("detail", f"{action}: {cause}; attempt {failed} failed, the next one in {delay:.1f} s")
        )

    def _translated(
        self,
        error: BaseException,
        service: str,
        operation: str,
        region: str | None,
        cancel: CancelToken | None = None,
    ) -> RunctlError:
        """The failure in our words; what is no failure of AWS or of the way to it is raised as it is."""
        told = errors.translate(
            error,
            action=errors.action_of(service, operation),
            region=region or self._region(),
            profile=self.session.profile,
        )
        if told is None:
            raise error
        encoded = errors.encoded_message(error)
        if encoded and cancel is not None and service != "sts":
            told = errors.with_decision(told, self._decoded(encoded, cancel))
        return told

    def _region(self) -> str:
        try:
            return self.session.region
        except Exception:  # noqa: BLE001 - the region is only a fact beside the failure that is being told
            return ""

    def _decoded(self, encoded: str, cancel: CancelToken) -> str:
        """What EC2 refused, decoded where the caller may; empty where not."""
        try:
            answer = self._attempt(
                self.session.client("sts"),
                "sts",
                "decode_authorization_message",
                lambda client: client.decode_authorization_message(EncodedMessage=encoded),
                cancel,
            )
        except Exception:  # noqa: BLE001 - the refusal itself is what has to be told
            return ""
        return "" if isinstance(answer, _Failed) else str(answer["DecodedMessage"])


@dataclass(frozen=True)
class _Failed:
    """An attempt that failed, as a value: ``work`` itself may return anything."""

    error: BaseException
