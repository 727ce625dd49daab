"""What is looked at in an account: a prepared one is fine, and whatever is broken in it is found, named and mendable."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.unit.aws.aws_world import Heard, blow, calls_to
from tests.unit.aws.test_aws_setup import prepare
from tests.unit.sandbox.cloud_world import SandboxBox
from tests.unit.sandbox.iam_world import user

from runctl.aws import doctor
from runctl.aws.calls import AwsCalls
from runctl.aws.explain import SECONDS, explain
from runctl.aws.probes import caller, machine, prepared
from runctl.aws.probes.account import Account
from runctl.core.cancel import CancelToken
from runctl.core.catalogue import known
from runctl.core.checks import Check, CheckState, Probe, run_checks
from runctl.core.clock import SystemClock
from runctl.core.errors import AccessError, CapacityError, RunctlError, UnreachableError, UsageError
from runctl.core.model import Offer
from runctl.project.settings import SETTINGS

NAME = "runctl-123456789012-us-east-1"
SMALL = Offer("aws", "t3.micro", "us-east-1", cpus=2)


def account_of(calls: AwsCalls, **settings: str) -> Account:
    given = {key.replace("__", "."): value for key, value in settings.items()}
    return Account(calls, lambda key: given.get(key, SETTINGS[key].default))


@pytest.fixture
def box(aws: SandboxBox, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxBox]:
    """A prepared account, looked at by an administrator of it."""
    aws.reset()
    prepare()
    admin = user(aws, "admin", {"Action": "*"})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", admin.keys["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", admin.keys["secret"])
    yield aws
    aws.reset()


@pytest.fixture
def account(box: SandboxBox) -> Iterator[Account]:
    with calls_to(attempts=2, deadline=10) as calls:
        yield account_of(calls)


def look(account: Account) -> dict[str, Check]:
    probes = doctor.probes_for_account(account)
    found = run_checks(probes, cancel=CancelToken(), clock=account.calls.clock, seconds=30)
    return {check.name: check for check in found}


def failure(account: Account, name: str) -> RunctlError:
    error = look(account)[name].error
    assert error is not None
    return error


def test_a_prepared_account_is_fine(account: Account) -> None:
    found = look(account)
    bad = {name: check.what for name, check in found.items() if check.state != "ok"}
    assert bad == {}
    assert found["bucket"].what == f"{NAME}, in us-east-1"
    assert found["quotas"].what == "vCPUs: standard 256, spot 256; G 64, spot 64; P 192, spot 192"
    assert found["s3"].facts["milliseconds"] >= 0
    assert found["clock"].what == "within a second of AWS's"


def test_looking_leaves_nothing_behind(account: Account, box: SandboxBox) -> None:
    look(account)
    assert not box.client("s3").list_objects_v2(Bucket=NAME).get("Contents")


def test_a_missing_bucket_is_one_failure_and_not_five(account: Account, box: SandboxBox) -> None:
    box.client("s3").delete_bucket(Bucket=NAME)
    found = look(account)
    error = found["bucket"].error
    assert isinstance(error, UsageError)
    assert (error.code, "  runctl aws setup" in error.fix) == ("aws-bucket-missing", True)
    assert [found[name].what for name in ("bucket settings", "writes")] == ["not looked at: bucket first"] * 2


def test_a_bucket_that_was_opened_is_warned_of(account: Account, box: SandboxBox) -> None:
    box.client("s3").delete_public_access_block(Bucket=NAME)
    box.client("s3").delete_bucket_policy(Bucket=NAME)
    found = look(account)["bucket settings"]
    assert found.state is CheckState.WARN
    assert found.what == "not as it should be: block public access, allow TLS only"
    assert found.fix == ("  runctl aws setup",)


def test_a_missing_profile_fails_and_a_weak_role_is_warned_of(account: Account, box: SandboxBox) -> None:
    iam = box.client("iam")
    iam.delete_role_policy(RoleName="runctl-instance", PolicyName="runctl")
    assert look(account)["role"].what == (
        "runctl-instance is not as it should be: may use the bucket and SSM, nothing else"
    )
    iam.remove_role_from_instance_profile(InstanceProfileName="runctl-instance", RoleName="runctl-instance")
    assert failure(account, "profile").code == "aws-instance-profile"
    iam.delete_instance_profile(InstanceProfileName="runctl-instance")
    found = look(account)
    assert found["role"].state is CheckState.SKIPPED
    assert found["profile"].error is not None
    assert found["profile"].error.why == "there is no instance profile runctl-instance"


def test_no_credentials_fail_once_and_the_rest_waits(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with calls_to(attempts=2) as calls:
        found = look(account_of(calls))
    error = found["credentials"].error
    assert isinstance(error, AccessError)
    assert found["region"].state is CheckState.OK
    assert {found[name].what for name in ("bucket", "profile", "quotas", "s3", "ssm", "permissions")} == {
        "not looked at: credentials first"
    }


def test_no_region_stops_everything(monkeypatch: pytest.MonkeyPatch, box: SandboxBox) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with calls_to() as calls:
        found = look(account_of(calls))
    assert found["region"].error is not None
    assert found["region"].error.code == "aws-no-region"
    assert {check.state for name, check in found.items() if name != "region"} == {CheckState.SKIPPED}


def test_a_misspelt_region_names_the_nearest(monkeypatch: pytest.MonkeyPatch, box: SandboxBox) -> None:
    monkeypatch.setenv("AWS_REGION", "us-wset-2")
    with calls_to() as calls:
        found = caller.region(account_of(calls), CancelToken())
    assert (found.state, found.fix) == (CheckState.WARN, ("  runctl config set aws.region us-west-2",))


def clock_check(calls: AwsCalls) -> Check:
    probe = Probe("clock", "clock", lambda cancel: caller.clock(account_of(calls), cancel))
    (found,) = run_checks([probe], cancel=CancelToken(), clock=calls.clock)
    return found


@pytest.mark.parametrize(
    ("ahead", "state"), [(0, "ok"), (20, "ok"), (60, "warn"), (600, "fail"), (3600, "fail")]
)
def test_a_clock_that_is_off_is_found_by_the_time_in_an_answer(
    box: SandboxBox, ahead: float, state: str
) -> None:
    """Also when the answer is a refusal because of it."""
    blow(box, "skew", delay=ahead)
    with calls_to(attempts=1) as calls:
        found = clock_check(calls)
    assert found.state == state
    if state == "fail":
        assert found.error is not None
        assert (found.error.code, "behind AWS's" in found.error.why) == ("aws-clock-skew", True)
    else:
        assert abs(found.facts["skew"] + ahead) < 5


class Fast(SystemClock):
    """A computer whose clock is a minute ahead."""

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=60)


def test_a_clock_that_is_ahead_is_said_to_be(box: SandboxBox) -> None:
    with calls_to(attempts=1, clock=Fast()) as calls:
        found = clock_check(calls)
    assert (found.state, "ahead of AWS's" in found.what) == ("warn", True)


def test_what_may_not_be_read_is_not_looked_at_and_names_the_action(
    account: Account, box: SandboxBox
) -> None:
    blow(box, "denied", service="iam", action="GetInstanceProfile")
    blow(box, "denied", service="s3", action="GetBucketPolicy")
    blow(box, "denied", service="servicequotas")
    found = look(account)
    assert {name: found[name].what for name in ("profile", "bucket settings", "quotas")} == {
        "profile": "you may not look: iam:GetInstanceProfile is not allowed",
        "bucket settings": "you may not look: s3:GetBucketPolicy is not allowed",
        "quotas": "you may not look: servicequotas:GetServiceQuota is not allowed",
    }
    assert not [check for check in found.values() if check.state is CheckState.FAIL]


def test_the_quota_counts_what_runs_in_its_family_and_market(account: Account, box: SandboxBox) -> None:
    def free(offer: Offer) -> int:
        facts = machine.quota(account, offer, CancelToken()).facts
        return int(facts["limit"] - facts["used"])

    spot = Offer("aws", "c5.large", "us-east-1", cpus=2, spot=True)
    before, before_spot = free(SMALL), free(spot)
    (one,) = box.launch(InstanceType="m5.xlarge")
    box.wait(one, "running")
    assert (free(SMALL), free(spot)) == (before - 4, before_spot)
    big = Offer("aws", "p4d.24xlarge", "us-east-1", cpus=96)
    assert (
        machine.quota(account, big, CancelToken()).what == "p4d.24xlarge on demand takes 96 of 192 free vCPUs"
    )
    with pytest.raises(CapacityError) as caught:
        machine.quota(account, Offer("aws", "g5.48xlarge", "us-east-1", cpus=192), CancelToken())
    assert caught.value.code == "aws-quota-short"
    assert "`Running On-Demand G and VT instances` is 64 vCPUs, 0 of them are in use" in caught.value.why
    assert any("--quota-code L-DB2E81BA --desired-value 192" in line for line in caught.value.fix)
    unknown = machine.quota(account, Offer("aws", "u-6tb1.metal", cpus=448), CancelToken())
    assert unknown.state is CheckState.SKIPPED


def test_quotas_of_another_region_are_asked_there(account: Account) -> None:
    found = machine.quota(account, Offer("aws", "t3.micro", "eu-west-1", cpus=2), CancelToken())
    assert found.facts["region"] == "eu-west-1"


def test_a_service_that_cannot_be_reached_is_found(box: SandboxBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", "http://127.0.0.1:9")
    with calls_to(attempts=1) as calls:
        found = look(account_of(calls))
    assert isinstance(found["ssm"].error, UnreachableError)
    assert found["s3"].state is CheckState.OK


class Careless(BaseHTTPRequestHandler):
    """A store that takes every write."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.answer(200)

    def do_DELETE(self) -> None:
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("ETag", '"d41d8cd98f00b204e9800998ecf8427e"')
        self.end_headers()

    def log_message(self, *words: Any) -> None:
        pass


@contextmanager
def careless() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_a_store_that_ignores_conditions_is_found(box: SandboxBox, monkeypatch: pytest.MonkeyPatch) -> None:
    with careless() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        with calls_to(attempts=1) as calls, pytest.raises(UsageError) as caught:
            prepared.conditional_writes(account_of(calls), CancelToken())
    assert caught.value.code == "aws-no-conditional-writes"
    assert url in caught.value.why


# --- one machine, and why something failed


def test_an_instance_is_described_as_it_stands(account: Account, box: SandboxBox) -> None:
    token = CancelToken()
    (bare,) = box.launch()
    box.wait(bare, "running")
    found = machine.instance(account, token, machine_id=bare)
    assert (found.state, found.facts["profile"]) == ("warn", "")
    assert "without an instance profile" in found.what
    (full,) = box.launch(IamInstanceProfile={"Name": "runctl-instance"})
    box.wait(full, "running")
    assert machine.instance(account, token, machine_id=f"{full}@us-east-1").state is CheckState.OK
    box.client("ec2").terminate_instances(InstanceIds=[bare])
    box.wait(bare, "terminated")
    ended = machine.instance(account, token, machine_id=bare)
    assert ended.state is CheckState.WARN
    assert ended.what.startswith(f"{bare} is terminated")
    with pytest.raises(RunctlError) as caught:
        machine.instance(account, token, machine_id="i-0123456789abcdef0")
    assert caught.value.code == "aws-instance-unknown"


def test_the_agent_of_ssm_is_online_lost_or_was_never_there(account: Account, box: SandboxBox) -> None:
    token = CancelToken()
    (bare,) = box.launch()
    assert machine.ping(account, token, machine_id=bare).facts == {"ping": "none"}
    (full,) = box.launch(IamInstanceProfile={"Name": "runctl-instance"})
    wait_for_ping(account, full, "Online")
    blow(box, "lost", instance=full)
    found = wait_for_ping(account, full, "ConnectionLost")
    assert found.state is CheckState.WARN
    assert "has lost its connection, last heard of " in found.what


def wait_for_ping(account: Account, instance: str, ping: str) -> Check:
    limit = time.monotonic() + 30
    while True:
        found = machine.ping(account, CancelToken(), machine_id=instance)
        if found.facts["ping"] == ping:
            return found
        assert time.monotonic() < limit, found
        time.sleep(0.05)


def warm(account: Account) -> None:
    """Make the clients: seconds on a busy computer, which are not what is tested."""
    for service in ("ec2", "ssm", "sts", "service-quotas"):
        account.calls.client(service)


def test_a_failure_is_explained_by_what_the_probes_found(account: Account, box: SandboxBox) -> None:
    warm(account)
    (ended,) = box.launch(IamInstanceProfile={"Name": "runctl-instance"})
    box.client("ec2").terminate_instances(InstanceIds=[ended])
    box.wait(ended, "terminated")
    error = known("aws-unreachable", action="ssm:StartSession", detail="TargetNotConnected")
    told = explain(
        error,
        account,
        cancel=CancelToken(),
        machine_id=ended,
        offer=SMALL,
        more=[Probe("disk", "disk", lambda _cancel: Check(CheckState.OK, "12 GB free"))],
    )
    assert told is error
    first, *more = told.why.splitlines()
    assert first == "TargetNotConnected"
    assert more[0].startswith(f"{ended} is terminated")
    assert more[1] == f"the SSM agent of {ended} has never registered"
    assert told.context["disk"] == "12 GB free"
    assert told.context["clock"] == "within a second of AWS's"
    assert "in account 123456789012" in told.context["identity"]
    assert "free vCPUs" in told.context["quota"]
    assert "  runctl runs" in told.fix


def test_an_explanation_takes_three_seconds_at_most_and_says_what_did_not_answer(
    account: Account, box: SandboxBox
) -> None:
    warm(account)
    blow(box, "slow", service="sts", delay=30)
    error = known("aws-unreachable", action="x", detail="y")
    begun = time.monotonic()
    told = explain(error, account, cancel=CancelToken(), machine_id="i-0123456789abcdef0")
    took = time.monotonic() - begun
    assert took < SECONDS + 2
    assert told.context["identity"] == f"no answer within {SECONDS:g} s"
    assert "there is no such instance" in told.why


def test_an_explanation_never_fails(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "gone")
    error = known("aws-unreachable", action="x", detail="y")
    with calls_to() as calls:
        told = explain(error, account_of(calls), cancel=CancelToken(), machine_id="i-0123456789abcdef0")
    assert told.what == error.what
    assert "there is no AWS profile gone" in told.why


def test_what_the_user_did_and_what_was_cancelled_is_not_looked_into(box: SandboxBox) -> None:
    heard = Heard()
    token = CancelToken()
    token.cancel("enough")
    mistake = known("usage", why="no")
    broken = known("aws-unreachable", action="x", detail="y")
    with calls_to(heard=heard) as calls:
        assert explain(mistake, account_of(calls), cancel=CancelToken()) is mistake
        assert explain(broken, account_of(calls), cancel=token).why == "y"
    assert not heard.attempts


def test_a_plan_looks_at_what_it_needs_and_writes_nothing(box: SandboxBox) -> None:
    heard = Heard()
    spot = Offer("aws", "g5.xlarge", "us-east-1", cpus=4, spot=True)
    with calls_to(heard=heard, attempts=2) as calls:
        account = account_of(calls)
        probes = doctor.probes_for_plan(account, [spot, SMALL])
        found = run_checks(probes, cancel=CancelToken(), clock=calls.clock)
    assert [check.name for check in found] == [
        "clock",
        "credentials",
        "bucket",
        "profile",
        "quota",
        "permissions",
    ]
    assert not [check for check in found if check.state is CheckState.FAIL]
    assert not [each for each in heard.attempts if each.split(":")[1].startswith(("Put", "Create", "Delete"))]
    json.dumps([check.to_json() for check in found])
