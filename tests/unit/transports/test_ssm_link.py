"""The client of sessions against a gateway that loses, repeats and reorders, and agents that refuse."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ssmbox import REGION, SsmBox, until
from tests.storebox import OLDEST
from tests.unit.aws.aws_world import HIDDEN, Heard

from runctl.core import ssm_frames
from runctl.core.cancel import CancelToken
from runctl.core.errors import RunctlError
from runctl.core.model import Endpoint
from runctl.core.ssm_frames import Frame
from runctl.sandbox.ssm import documents
from runctl.testing.surroundings import surroundings
from runctl.transports.ssm import link, programs
from runctl.transports.ssm.machine import wire
from runctl.transports.ssm.transport import SsmTransport


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SsmBox]:
    box = SsmBox(tmp_path_factory.mktemp("ssm-link"))
    try:
        box.boot()
        yield box
    finally:
        box.close()


@pytest.fixture
def python() -> str:
    return "python3"


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def transport(
    box: SsmBox, python: str, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SsmTransport]:
    for name in HIDDEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", box.state.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", box.state.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", box.state.secret)
    around = surroundings(emit=heard, retries__attempts=2.0)
    address = f"{next(iter(box.ec2.all))}@{REGION}"
    transport = SsmTransport(Endpoint("ssm", address, python), around)
    yield transport
    box.ssm.sessions.tamper = None
    transport.close()
    for client in around.shared["aws"]._clients.values():
        client.close()


def test_frames_that_are_lost_repeated_and_late(box: SsmBox, transport: SsmTransport) -> None:
    dice = random.Random(11)

    def tamper(_side: str, data: bytes) -> list[bytes]:
        """What is lost comes again, behind what was sent after it."""
        return [data] * (0 if (throw := dice.random()) < 0.03 else 2 if throw < 0.06 else 1)

    box.ssm.sessions.tamper = tamper
    data = random.Random(5).randbytes(400_000)
    got = hashlib.sha256()
    done = transport.exec(["cat"], stdin=[data], on_output=got.update, cancel=CancelToken())
    assert (got.digest(), done.exit_code) == (hashlib.sha256(data).digest(), 0)


def test_a_fast_lane_that_falls_silent_on_a_sound_connection_is_left(
    box: SsmBox, transport: SsmTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "PING_SECONDS", 0.1)  # more often than silence is long: none resets the other
    monkeypatch.setattr(link, "QUIET_SECONDS", 0.4)
    assert transport.exec(["true"], cancel=CancelToken()).exit_code == 0

    def swallow(_side: str, data: bytes) -> list[bytes]:
        return [] if ssm_frames.decode(data).payload.startswith(wire.MARK) else [data]

    box.ssm.sessions.tamper = swallow
    got = bytearray()
    told = b"".join(b"line %d\n" % number for number in range(5000))
    done = transport.exec(["cat"], stdin=[told], on_output=got.extend, cancel=CancelToken())
    assert (bytes(got), done.exit_code) == (told, 0)


def test_a_session_that_has_to_be_encrypted_is_declined_in_words(
    box: SsmBox, transport: SsmTransport
) -> None:
    answers: list[Any] = []

    def tamper(side: str, data: bytes) -> list[bytes]:
        frame = ssm_frames.decode(data)
        if frame.payload_type == ssm_frames.HANDSHAKE_REQUEST:
            asked = json.loads(frame.payload)
            encrypt = {"ActionType": "KMSEncryption", "ActionParameters": {"KMSKeyId": "alias/ours"}}
            asked["RequestedClientActions"].append(encrypt)
            return [ssm_frames.encode(frame._replace(payload=json.dumps(asked).encode()))]
        if frame.payload_type == ssm_frames.HANDSHAKE_RESPONSE:
            answers.append(json.loads(frame.payload))
        return [data]

    box.ssm.sessions.tamper = tamper
    with pytest.raises(RunctlError) as refused:
        transport.exec(["true"], cancel=CancelToken())
    assert refused.value.code == "session-encrypted"
    assert "alias/ours" in refused.value.why
    until(lambda: answers, what="the agent is told")
    statuses = {each["ActionType"]: each["ActionStatus"] for each in answers[0]["ProcessedClientActions"]}
    assert statuses == {"SessionType": 1, "KMSEncryption": 2}


@pytest.mark.parametrize("python", ["python-of-nowhere"])
def test_a_machine_without_python(transport: SsmTransport) -> None:
    with pytest.raises(RunctlError) as refused:
        transport.exec(["true"], cancel=CancelToken())
    assert refused.value.code == "machine-no-python"


@pytest.mark.parametrize("python", ["false"])
def test_a_session_that_does_not_begin_gives_way_to_commands(transport: SsmTransport, heard: Heard) -> None:
    with pytest.raises(RunctlError) as refused:
        transport.exec(["true"], cancel=CancelToken())
    assert refused.value.code == "command-lost", "there it does not run either"
    assert "ended before it had begun" in " ".join(heard.retries)


def test_a_region_without_the_documents(
    box: SsmBox, transport: SsmTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(documents.DOCUMENTS, "AWS-StartNonInteractiveCommand")
    got = bytearray()
    assert transport.exec(["echo", "there"], on_output=got.extend, cancel=CancelToken()).exit_code == 0
    assert bytes(got) == b"there\n"


def test_credentials_that_expire_in_a_cut_are_said(box: SsmBox, transport: SsmTransport) -> None:
    def cut(_chunk: bytes) -> None:
        box.storm(kind="expired", service="ssm")
        for session in box.ssm.sessions.living():
            box.run(_aborted(session.client))

    try:
        with pytest.raises(RunctlError) as expired:
            transport.exec(["sh", "-c", "echo on; sleep 300"], on_output=cut, cancel=CancelToken())
        assert expired.value.code == "aws-credentials-expired"
    finally:
        box.weather.clear()


async def _aborted(socket_: Any) -> None:
    if socket_ is not None:
        socket_.abort()


def test_it_becomes_root_where_that_is_possible(tmp_path: Path) -> None:
    """Sessions run as ssm-user, who may use sudo; without sudo it stays who it is."""
    for name, script in {
        "id": "echo 1001",
        "sudo": f'printf "%s\\n" "$*" >> {tmp_path}/asked; [ "$2" != true ] || exit 0; while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    source = programs.program("echo", ("wire",))
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(source, env={"PATH": path}, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("-I -S -c ")
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "-n true"
    assert asked[1].startswith("-n -H -- echo -I -S")
    (tmp_path / "sudo").write_text("#!/bin/sh\nexit 1\n")
    done = subprocess.run(source, env={"PATH": path}, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("-I -S -c ")


def test_no_word_of_a_command_stands_in_a_parameter(box: SsmBox, transport: SsmTransport) -> None:
    sent: list[Frame] = []
    box.ssm.agents.tell = _watched(box.ssm.agents.tell, sent)
    try:
        transport.exec(["echo", "open-word"], stdin=[b"hidden-input"], cancel=CancelToken())
    finally:
        del box.ssm.agents.tell
    starts = [each for each in sent if each.type == "interactive_shell"]
    assert len(starts) == 2, "two sessions; what else is told may be the end of an earlier test's"
    assert not [each for each in sent if b"open-word" in each.payload or b"hidden-input" in each.payload]


def _watched(tell: Any, sent: list[Frame]) -> Any:
    def watch(target: str, frame: Any) -> Any:
        sent.append(frame)
        return tell(target, frame)

    return watch


class Relay:
    """The relay as a process of the test, with its fast lane."""

    def __init__(self, *, silence: str = "120.0", python: str = sys.executable) -> None:
        *argv, packed = programs.program(python, link.PROGRAMS)
        source = zlib.decompress(base64.b64decode(packed)).decode()
        changed = source.replace("SILENCE = 120.0", f"SILENCE = {silence}")
        argv.append(base64.b64encode(zlib.compress(changed.encode())).decode())
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout is not None
        _, port, self.secret = self.process.stdout.readline().split()
        self.port = int(port)
        self.lanes: list[socket.socket] = []

    def lane(self, secret: bytes | None = None) -> Any:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        self.lanes.append(connection)
        connection.sendall((secret or self.secret) + wire.LENGTH.pack(1))
        return connection

    def end(self) -> None:
        self.process.kill()
        for each in self.lanes:
            each.close()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        self.process.wait()


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.end()


def said(kind: int, sequence: int, number: int, payload: bytes = b"") -> bytes:
    body = wire.frame(kind, sequence, number, payload)
    return wire.LENGTH.pack(len(body)) + body


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def started(lane: Any, relay: Relay) -> int:
    """A command that would run for ever; its pid."""
    lane.sendall(said(wire.START, 1, 1, wire.line(["sh", "-c", "echo $$; trap '' TERM HUP; sleep 999"])))
    assert relay.process.stdout is not None
    while True:
        body = base64.b64decode(relay.process.stdout.readline()[1:])
        kind, _, _ = wire.HEAD.unpack_from(body)
        if kind == wire.OUT:
            return int(body[wire.HEAD.size :])


def test_a_stranger_without_the_secret_is_shown_the_door(relay: Relay) -> None:
    stranger = relay.lane(b"0" * 32)
    stranger.sendall(said(wire.START, 1, 1, wire.line(["touch", "/tmp/never"])))
    assert stranger.recv(1) == b""
    lane = relay.lane()
    lane.sendall(said(wire.PING, 0, 7))
    assert lane.recv(100)


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
def test_what_runs_ends_with_the_session(relay: Relay, way: int) -> None:
    """SIGKILL is what the agent does at the end, SIGINT is its Ctrl+C."""
    pid = started(relay.lane(), relay)
    relay.process.send_signal(way)
    until(lambda: not running(pid), what="the command is gone")
    relay.process.wait(5)


def test_what_runs_ends_when_nobody_reads_the_fast_lane(relay: Relay) -> None:
    pid = started(relay.lane(), relay)
    assert relay.process.stdout is not None
    relay.process.stdout.close()
    until(lambda: not running(pid), what="the command is gone")


def test_what_runs_ends_when_the_client_is_silent() -> None:
    relay = Relay(silence="1.0")
    try:
        lane = relay.lane()
        pid = started(lane, relay)
        for number in range(8):
            lane.sendall(said(wire.PING, 0, number))
            time.sleep(0.2)
        assert running(pid), "a client that pings is there"
        until(lambda: not running(pid), what="the command is gone")
    finally:
        relay.end()


def test_a_lane_that_is_made_anew_repeats_nothing_that_was_done(relay: Relay, tmp_path: Path) -> None:
    first = relay.lane()
    append = wire.line(["sh", "-c", f"echo once >> {tmp_path}/file"])
    first.sendall(said(wire.START, 1, 1, append))
    until((tmp_path / "file").exists)
    second = relay.lane()
    second.sendall(said(wire.START, 1, 1, append) + said(wire.START, 2, 2, append))
    until(lambda: (tmp_path / "file").read_text().count("once") == 2)
    second.sendall(said(wire.BYE, 3, 0))
    assert relay.process.wait(5) == 0
    assert (tmp_path / "file").read_text() == "once\nonce\n"


def test_the_programs_run_on_the_oldest_python() -> None:
    if not OLDEST:
        pytest.skip("no Python 3.8 here")
    relay = Relay(python=OLDEST)
    try:
        pid = started(relay.lane(), relay)
        assert running(pid)
    finally:
        relay.end()
    until(lambda: not running(pid), what="the command is gone")
