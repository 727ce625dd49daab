"""Where sessions are not allowed: commands that are late, lost, throttled or unknown for a while, and what is kept of them."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ssmbox import REGION, SsmBox, until
from tests.ssmworld import SsmWorld, processes, ssm_world
from tests.unit.aws.aws_world import HIDDEN, Heard

from runctl.aws.calls import AwsCalls
from runctl.core.cancel import CancelToken
from runctl.core.clock import SystemClock
from runctl.core.errors import AccessError, Cancelled, MachineGone, RunctlError, UnreachableError
from runctl.core.model import Endpoint
from runctl.testing.surroundings import surroundings
from runctl.transports.ssm import commands, programs, spooled
from runctl.transports.ssm.machine import wire
from runctl.transports.ssm.transport import SsmTransport

SECRET = b"hunter2-of-the-test"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SsmWorld]:
    with ssm_world(tmp_path_factory.mktemp("ssm-commands")) as world:
        world.boot()
        world.bucket()
        yield world


@pytest.fixture
def instance(world: SsmWorld) -> str:
    world.blow("clear")
    world.blow("denied", service="ssm", action="StartSession")
    return world.only()


@pytest.fixture
def transport(world: SsmWorld, instance: str) -> Iterator[SsmTransport]:
    with world.transport(instance, aws__bucket="parcels") as transport:
        yield transport


def test_a_line_is_here_within_three_seconds(transport: SsmTransport) -> None:
    late: list[float] = []

    def arrived(chunk: bytes) -> None:
        now = time.time()
        late.extend(now - float(line) for line in chunk.split())

    script = "import time\nfor _ in range(8): print(time.time(), flush=True); time.sleep(0.8)"
    transport.exec(["python3", "-c", script], on_output=arrived, cancel=CancelToken())
    assert len(late) == 8
    assert max(late) < 3


def test_much_output_goes_through_the_bucket_and_leaves_nothing_there(
    world: SsmWorld, transport: SsmTransport
) -> None:
    script = "import random, sys; sys.stdout.buffer.write(random.Random(3).randbytes(9_000_000))"
    digest, heard = hashlib.sha256(), Heard()
    transport._calls.emit = heard
    done = transport.exec(["python3", "-c", script], on_output=digest.update, cancel=CancelToken())
    assert (done.exit_code, digest.digest()) == (
        0,
        hashlib.sha256(random.Random(3).randbytes(9_000_000)).digest(),
    )
    assert heard.attempts.count("ssm:SendCommand") < 12, "not through the window of 24,000 characters"
    assert "Contents" not in world.box.client("s3").list_objects_v2(Bucket="parcels")


def test_input_stands_in_no_parameter_and_is_gone_from_the_bucket(
    world: SsmWorld, transport: SsmTransport
) -> None:
    got = bytearray()
    transport.exec(["cat"], stdin=[SECRET], on_output=got.extend, cancel=CancelToken())
    assert bytes(got) == SECRET
    sent = world.box.client("ssm").list_commands()["Commands"]
    assert sent
    for each in sent:
        text = str(each["Parameters"])
        for packed in [word for word in text.split() if len(word) > 8]:
            try:
                text += str(zlib.decompress(b64decode(packed)))
            except ValueError:
                text += str(packed)
            except zlib.error:
                text += str(b64decode(packed))
        assert SECRET.decode() not in text
    assert "Contents" not in world.box.client("s3").list_objects_v2(Bucket="parcels")


def test_a_bucket_that_is_not_there_is_said(world: SsmWorld, instance: str) -> None:
    with world.transport(instance, aws__bucket="no-such-bucket-of-ours") as transport:
        assert transport.exec(["true"], cancel=CancelToken()).exit_code == 0, "without input none is needed"
        with pytest.raises(RunctlError) as missing:
            transport.exec(["cat"], stdin=[b"x"], cancel=CancelToken())
        assert missing.value.code == "aws-bucket-missing"


def test_neither_sessions_nor_commands(world: SsmWorld, transport: SsmTransport) -> None:
    world.blow("denied", service="ssm", action="SendCommand")
    with pytest.raises(AccessError) as denied:
        transport.exec(["true"], cancel=CancelToken())
    assert denied.value.code == "session-denied"
    assert "ssm:StartSession" in denied.value.why
    assert "ssm:SendCommand" in denied.value.why


def test_sessions_can_be_turned_off(world: SsmWorld, instance: str) -> None:
    world.blow("clear")
    heard = Heard()
    with world.transport(instance, heard=heard, aws__sessions="off") as transport:
        assert transport.exec(["true"], cancel=CancelToken()).exit_code == 0
    assert "ssm:StartSession" not in heard.attempts


def test_throttling_is_waited_out(world: SsmWorld, transport: SsmTransport) -> None:
    world.blow("throttle", service="ssm", action="SendCommand", times=2)
    world.blow("throttle", service="ssm", action="GetCommandInvocation", chance=0.5)
    got = bytearray()
    done = transport.exec(
        ["sh", "-c", "echo on; sleep 1; echo off"], on_output=got.extend, cancel=CancelToken()
    )
    assert (bytes(got), done.exit_code) == (b"on\noff\n", 0)


def test_a_cancel_is_heard_at_once_and_the_command_ends(transport: SsmTransport) -> None:
    cancel, when = CancelToken(), [0.0]

    def stop(_chunk: bytes) -> None:
        when[0] = time.monotonic()
        cancel.cancel()

    script = "trap '' TERM; echo on; while :; do sleep 301.5; done"
    with pytest.raises(Cancelled):
        transport.exec(["sh", "-c", script], on_output=stop, cancel=cancel)
    assert time.monotonic() - when[0] < 2
    until(lambda: not processes("sleep 301.5"), what="the command is gone")


def test_an_instance_that_is_terminated_is_gone(world: SsmWorld, instance: str) -> None:
    doomed = world.boot()
    with world.transport(doomed, aws__bucket="parcels") as transport, pytest.raises(MachineGone) as gone:
        transport.exec(
            ["sh", "-c", "echo on; sleep 300"],
            on_output=lambda _: world.terminate(doomed),
            cancel=CancelToken(),
        )
    assert gone.value.code == "instance-gone"


# --- the service, slower and faster than it is -------------------------------------------------------------------------


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SsmBox]:
    """Commands are unknown for a second after sending, and delivery times out sixty times sooner."""
    box = SsmBox(tmp_path, ssm_visible_seconds="1.0", ssm_clock_factor="60")
    for name in HIDDEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", box.state.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", box.state.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", box.state.secret)
    try:
        yield box
    finally:
        box.close()


def calls_to(heard: Heard) -> Any:
    around = surroundings(emit=heard, aws__region=REGION)
    return AwsCalls.of(around)


def closed(calls: AwsCalls) -> None:
    for client in calls.session._clients.values():
        client.close()


def test_an_invocation_that_is_not_known_yet_is_not_sent_again(slow: SsmBox) -> None:
    instance, heard = slow.boot(), Heard()
    calls = calls_to(heard)
    answers = commands.Commands(calls, REGION, SystemClock()).run(
        [instance], ["echo", "one"], seconds=30, cancel=CancelToken()
    )
    closed(calls)
    assert answers[instance].stdout == "one\n"
    assert heard.attempts.count("ssm:SendCommand") == 1
    assert heard.attempts.count("ssm:GetCommandInvocation") > 1


def test_what_was_never_delivered_is_sent_again(slow: SsmBox, tmp_path: Path) -> None:
    instance, heard = slow.boot(), Heard()
    slow.storm(kind="undeliverable", instance=instance, times=1)
    calls = calls_to(heard)
    append = ["sh", "-c", f"echo once >> {tmp_path}/file"]
    answers = commands.Commands(calls, REGION, SystemClock()).run(
        [instance], append, seconds=30, cancel=CancelToken()
    )
    closed(calls)
    assert answers[instance].status == "Success"
    assert heard.attempts.count("ssm:SendCommand") > 1
    assert (tmp_path / "file").read_text() == "once\n"


@pytest.mark.parametrize("details", ["Undeliverable", "DeliveryTimedOut"])
def test_what_can_not_be_delivered_is_said(slow: SsmBox, details: str) -> None:
    instance = slow.boot()
    if details == "Undeliverable":
        slow.storm(kind="undeliverable", instance=instance)
    else:
        slow.agents[instance].send_signal(signal.SIGSTOP)
    around = surroundings(aws__sessions="off", retries__attempts=2.0)
    transport = SsmTransport(Endpoint("ssm", f"{instance}@{REGION}"), around)
    with pytest.raises(UnreachableError) as lost:
        transport.exec(["true"], cancel=CancelToken())
    slow.agents[instance].send_signal(signal.SIGCONT)
    closed(transport._calls)
    assert lost.value.code == "command-lost"
    assert details in lost.value.what


def test_many_machines_are_asked_with_one_question(slow: SsmBox, monkeypatch: pytest.MonkeyPatch) -> None:
    instances = [slow.boot(f"i-0123456789abcdef{number}") for number in range(3)]
    monkeypatch.setattr(commands, "AT_ONCE", 2)
    heard = Heard()
    calls = calls_to(heard)
    argv = ["sh", "-c", "echo $AWS_SSM_INSTANCE_ID; exit 3"]
    answers = commands.Commands(calls, REGION, SystemClock()).run(
        instances, argv, seconds=30, cancel=CancelToken()
    )
    closed(calls)
    assert {name: (each.status, each.code, each.stdout) for name, each in answers.items()} == {
        name: ("Failed", 3, f"{name}\n") for name in instances
    }
    assert heard.attempts.count("ssm:SendCommand") == 2
    assert heard.attempts.count("ssm:ListCommandInvocations") >= 1


# --- the program there ---------------------------------------------------------------------------------------------------


def spool(home: Path, *words: str, forsaken: str = "90.0") -> str:
    *argv, packed = programs.program(sys.executable, spooled.PROGRAMS)
    source = zlib.decompress(b64decode(packed)).decode()
    changed = source.replace("FORSAKEN = 90.0", f"FORSAKEN = {forsaken}").replace("KEPT = 60.0", "KEPT = 3.0")
    packed = b64encode(zlib.compress(changed.encode())).decode()
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*argv, packed, *words], env=env, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout


def packed(*argv: str) -> str:
    return b64encode(wire.line(list(argv))).decode()


def test_a_command_nobody_asks_for_ends_and_its_files_go(tmp_path: Path) -> None:
    op = f"{time.time_ns():032x}"
    script = packed("sh", "-c", "echo $$; trap '' TERM; sleep 303.5")
    answer = spool(tmp_path, "start", op, "5", script, "0", "-", "-", "end", forsaken="1.0")
    assert answer.startswith("~- ")
    assert processes("sleep 303.5")
    until(lambda: not processes("sleep 303.5"), what="the command is gone")
    until(lambda: not list((tmp_path / ".runctl/commands").iterdir()), what="its files are gone")


def test_a_command_that_is_said_twice_begins_once(tmp_path: Path) -> None:
    op = f"{time.time_ns():032x}"
    script = packed("sh", "-c", f"echo once >> {tmp_path}/file")
    answers = []
    asking = [
        threading.Thread(
            target=lambda: answers.append(spool(tmp_path, "start", op, "5", script, "0", "-", "-", "end"))
        )
        for _ in range(3)
    ]
    for each in asking:
        each.start()
    for each in asking:
        each.join(30)
    assert [answer.split()[0] for answer in answers] == ["~0"] * 3
    assert (tmp_path / "file").read_text() == "once\n"
