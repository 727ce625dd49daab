"""Live sessions with a client of our own on another websocket library: every document, loss, disorder, cuts, ends."""

from __future__ import annotations

import json
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from tests.ssmbox import SsmBox, until
from tests.ssmclient import Client
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from runctl.core import ssm_frames
from runctl.sandbox.guest.piped import Runes
from runctl.sandbox.ssm import websocket

COMMAND = "AWS-StartNonInteractiveCommand"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SsmBox]:
    box = SsmBox(tmp_path_factory.mktemp("sessions"))
    try:
        box.boot()
        yield box
    finally:
        box.close()


@pytest.fixture
def target(box: SsmBox) -> Iterator[str]:
    yield next(iter(box.ec2.all))
    box.ssm.sessions.tamper = None


def run(box: SsmBox, target: str, command: str, *, seconds: float = 30) -> Client:
    return Client(box.client(), target, COMMAND, command=command).wait(seconds)


def test_a_command_with_two_streams_and_an_exit_code(box: SsmBox, target: str) -> None:
    done = run(box, target, "sh -c 'echo out; echo err >&2; exit 7'")
    assert (bytes(done.stdout), bytes(done.stderr), done.exit_code) == (b"out\n", b"err\n", "EXIT_CODE: 7")
    assert done.closing is not None
    assert (
        done.handshake["RequestedClientActions"][0]["ActionParameters"]["SessionType"]
        == "NonInteractiveCommands"
    )


def test_the_first_line_comes_at_once(box: SsmBox, target: str) -> None:
    first = min(run(box, target, "echo hi").first_output for _ in range(5))
    assert first < 0.15


def test_ten_megabytes_a_second(box: SsmBox, target: str) -> None:
    began = time.monotonic()
    done = run(box, target, "head -c 30000000 /dev/zero", seconds=60)
    took = time.monotonic() - began
    assert len(done.stdout) == 30_000_000
    assert took < 15, (
        f"{30 / took:.1f} MB/s"
    )  # a busy machine gets a fifth of the promise; the report has the figure


def test_characters_pass_and_bytes_that_are_none_do_not(box: SsmBox, target: str, tmp_path: Path) -> None:
    text = "naïve ☃ \0 \r\n".encode() * 20_000
    (tmp_path / "text").write_bytes(text)
    assert bytes(run(box, target, f"cat {tmp_path}/text").stdout) == text
    (tmp_path / "bytes").write_bytes(b"a\xffbcde\xef\xbf\xbdfghi\xff\xfe")
    assert bytes(run(box, target, f"cat {tmp_path}/bytes").stdout) == b"a\xffbcde\xeffghi"


@given(st.lists(st.binary(max_size=40) | st.text(max_size=40).map(str.encode)))
def test_no_character_is_lost_in_the_middle(pieces: list[bytes]) -> None:
    runes = Runes()
    text = "".join(each.decode(errors="ignore").replace("\ufffd", "") for each in pieces).encode()
    assert b"".join(runes.feed(text[at : at + 7]) for at in range(0, len(text), 7)) == text


def test_without_separate_streams_all_comes_as_one_and_at_the_end(box: SsmBox, target: str) -> None:
    client = Client(
        box.client(),
        target,
        COMMAND,
        command="sh -c 'echo out; echo err >&2; sleep 0.3; exit 7'",
        separateOutputStream="false",
    ).wait()
    assert (bytes(client.stdout), bytes(client.stderr), client.exit_code) == (b"out\nerr\n", b"", None)
    assert client.first_output > 0.3


def test_a_stream_that_is_read_while_the_client_is_away_is_given_up(box: SsmBox, target: str) -> None:
    client = Client(box.client(), target, COMMAND, command="sh -c 'while echo tick; do sleep 0.02; done'")
    until(lambda: client.stdout)
    client.cut()
    session = box.ssm.sessions.get(client.id)
    until(lambda: session.paused)
    time.sleep(0.2)  # the agent reads on while the client is away
    client.resume()
    seen = len(client.stdout)
    assert not client.ended.wait(0.5)
    assert len(client.stdout) <= seen + 100, (
        "what was read before the agent knew still comes; nothing after it"
    )
    box.client().terminate_session(SessionId=client.id)
    client.wait()


def test_twenty_at_once(box: SsmBox, target: str) -> None:
    began, ssm = time.monotonic(), box.client()
    running = [
        Client(ssm, target, COMMAND, command=f"sh -c 'sleep 1; echo {number}'") for number in range(20)
    ]
    for number, each in enumerate(running):
        assert bytes(each.wait().stdout) == f"{number}\n".encode()
    assert time.monotonic() - began < 8


def test_a_cut_connection_is_resumed_without_a_gap(box: SsmBox, target: str, tmp_path: Path) -> None:
    script = tmp_path / "count"
    script.write_text("i=0\nwhile [ $i -lt 4000 ]; do echo $i; i=$((i+1)); done\nsleep 0.3\necho end\n")
    client = Client(box.client(), target, "AWS-StartInteractiveCommand", command=f"sh {script}")
    until(lambda: client.stdout)
    client.cut()
    time.sleep(0)
    client.resume()
    client.wait()
    assert bytes(client.stdout) == b"".join(b"%d\r\n" % n for n in range(4000)) + b"end\r\n"


def test_what_was_typed_while_the_agent_was_cut_off_arrives(box: SsmBox, target: str) -> None:
    client = Client(box.client(), target, "AWS-StartInteractiveCommand", command="cat")
    assert client.ready.wait(10)
    session = box.ssm.sessions.get(client.id)
    box.run(_cut(session))
    client.send(b"hello\n")
    until(lambda: session.agent is not None, what="the agent is back")

    def echoed() -> bool:
        for frame in list(
            client._unacked.values()
        ):  # a client sends what nobody acknowledged, again and again
            client.socket.send(ssm_frames.encode(frame))
        return bytes(client.stdout).count(b"hello") == 2

    until(echoed, what="echo and answer")
    client.send(b"\x04")
    client.wait()


async def _cut(session: Any) -> None:
    session.agent.abort()


def test_lost_acknowledgements_and_reordered_frames(box: SsmBox, target: str) -> None:
    dice, late = random.Random(3), []

    def tamper(side: str, data: bytes) -> list[bytes]:
        if side == "client" and b"acknowledge" in data[:40] and dice.random() < 0.3:
            return []
        if side == "agent" and b"output_stream_data" in data[:40]:
            if dice.random() < 0.1:
                return []
            late.append(data)
            if len(late) < 3:
                return []
            sent = [*reversed(late)]
            late.clear()
            return sent
        return [data]

    box.ssm.sessions.tamper = tamper
    done = run(box, target, "seq 30000", seconds=60)
    assert bytes(done.stdout) == b"".join(b"%d\n" % n for n in range(1, 30_001))
    assert done.exit_code == "EXIT_CODE: 0"


def test_no_shell_looks_at_a_command(box: SsmBox, target: str) -> None:
    assert bytes(run(box, target, "echo 'a  b' $HOME ';' done").stdout) == b"a  b $HOME ; done\n"
    wrong = run(box, target, "for i in 1 2; do echo $i; done")
    assert wrong.closing is not None
    assert "executable file not found" in wrong.closing["Output"]
    assert run(box, target, "echo 'open").closing is not None


def test_a_terminal(box: SsmBox, target: str) -> None:
    client = Client(box.client(), target)
    assert client.ready.wait(10)
    client.send(b'{"cols":77,"rows":33}', 3)
    client.send(b"stty size; tty >/dev/null && echo terminal $((6*7))\n")
    until(lambda: b"terminal 42" in client.stdout)
    assert b"33 77" in client.stdout
    client.send(b"sh -c 'echo asleep $((6*8)); exec sleep 100'\n")
    until(lambda: b"asleep 48" in client.stdout)  # it is what the terminal's signals go to by now
    client.send(b"\x03")
    until(lambda: b"^C" in client.stdout)
    client.send(b"exit\n")
    assert client.wait().exit_code is None


def test_control_c_ends_a_command_and_the_terminate_flag_does_not(box: SsmBox, target: str) -> None:
    client = Client(box.client(), target, COMMAND, command="sh -c 'echo on; sleep 300'")
    until(lambda: client.stdout)
    client.send((2).to_bytes(4, "big"), 10)
    assert not client.ended.wait(0.3)
    client.send(b"\x03")
    assert client.wait().exit_code == "EXIT_CODE: 1"


def test_terminated_sessions_leave_no_process(box: SsmBox, target: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    ssm = box.client()
    client = Client(ssm, target, COMMAND, command=f"sh -c 'echo $$ > {pids}; sleep 300 & wait'")
    until(lambda: pids.exists() and pids.read_text().strip())
    active = ssm.describe_sessions(State="Active", Filters=[{"key": "Target", "value": target}])["Sessions"]
    assert (client.id, "Connected") in [(each["SessionId"], each["Status"]) for each in active]
    for _ in range(2):
        assert ssm.terminate_session(SessionId=client.id)["SessionId"] == client.id
    assert client.wait().closing is not None
    until(lambda: not Path(f"/proc/{pids.read_text().strip()}").exists(), what="the command is gone")
    history = ssm.describe_sessions(State="History")["Sessions"]
    assert {"SessionId": client.id, "Status": "Terminated"}.items() <= history[0].items()
    assert "TokenValue" not in ssm.resume_session(SessionId=client.id), "it cannot be resumed"


def _serve_once(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        got = b""
        while not got.endswith(b"\n"):
            got += connection.recv(65_536)
        connection.sendall(answer + got)


@pytest.mark.parametrize("document", ["AWS-StartPortForwardingSession", "AWS-StartSSHSession"])
def test_a_port_carries_bytes_both_ways(box: SsmBox, target: str, document: str) -> None:
    answer = random.Random(1).randbytes(400_000)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve_once, args=(listener, answer), daemon=True).start()
        client = Client(box.client(), target, document, portNumber=str(listener.getsockname()[1]))
        assert client.ready.wait(10)
        client.send(b"ping\n")
        until(lambda: len(client.stdout) == len(answer) + 5)
    assert bytes(client.stdout) == answer + b"ping\n"
    if document == "AWS-StartSSHSession":
        client.wait()
    else:
        until(lambda: client.flags == [1], what="the client learns that the server hung up")
        client.send((2).to_bytes(4, "big"), 10)
        client.wait()


def test_a_port_nobody_listens_on(box: SsmBox, target: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    client = Client(box.client(), target, "AWS-StartPortForwardingSession", portNumber=port)
    until(lambda: client.flags == [3])
    box.client().terminate_session(SessionId=client.id)
    client.wait()


def _answered(client: Client, text: bytes, *, hangups: int) -> None:
    until(lambda: bytes(client.stdout).endswith(text))
    until(lambda: len(client.flags) == hangups)


def test_a_forwarded_port_connects_again(box: SsmBox, target: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(
            box.client(), target, "AWS-StartPortForwardingSession", portNumber=str(listener.getsockname()[1])
        )
        assert client.ready.wait(10)
        for turn in (b"one", b"two"):
            threading.Thread(target=_serve_once, args=(listener, turn), daemon=True).start()
            client.send(b"\n")
            _answered(client, turn + b"\n", hangups=1 if turn == b"one" else 2)
        box.client().terminate_session(SessionId=client.id)
        client.wait()


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"Target": "i-0aaaaaaaaaaaaaaaa"}, "TargetNotConnected"),
        ({"DocumentName": "AWS-NoSuchThing"}, "InvalidDocument"),
        ({"DocumentName": "AWS-RunShellScript"}, "InvalidDocument"),
        ({"DocumentName": COMMAND}, "InvalidParameters"),
        ({"DocumentName": "AWS-StartSSHSession", "Parameters": {"portNumber": ["0"]}}, "InvalidParameters"),
    ],
)
def test_refused_sessions(box: SsmBox, target: str, asked: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as refused:
        box.client().start_session(**{"Target": target, **asked})
    assert refused.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError) as missing:
        box.client().terminate_session(SessionId="sandbox-0123456789abcdef0")
    assert missing.value.response["Error"]["Code"] == "DoesNotExistException"


def test_a_channel_opens_with_its_token_only_and_the_old_one_is_void(box: SsmBox, target: str) -> None:
    ssm = box.client()
    answer = ssm.start_session(Target=target)
    ssm.resume_session(SessionId=answer["SessionId"])
    for token in ("wrong", answer["TokenValue"], ""):
        with connect(answer["StreamUrl"], proxy=None) as socket_, pytest.raises(WebSocketException):
            socket_.send(f'{{"TokenValue":"{token}"}}')
            while True:
                socket_.recv(timeout=10)
    ssm.terminate_session(SessionId=answer["SessionId"])


def test_who_still_talks_when_a_session_ends_hears_that_it_ended(box: SsmBox, target: str) -> None:
    ssm = box.client()
    asked = ssm.start_session(Target=target, DocumentName=COMMAND, Parameters={"command": ["sleep 60"]})
    where = urlsplit(asked["StreamUrl"])
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=10) as raw:
        fields = (
            f"Host: {where.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
        )
        query = f"{where.path}?{where.query}"
        raw.sendall(f"GET {query} HTTP/1.1\r\n{fields}\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())
        token = {"MessageSchemaVersion": "1.0", "TokenValue": asked["TokenValue"]}
        raw.sendall(websocket.frame_bytes(websocket.TEXT, json.dumps(token).encode(), masked=True))
        until(lambda: _told(raw, ssm_frames.OUTPUT.encode()), what="the handshake of the session")
        ssm.terminate_session(SessionId=asked["SessionId"])
        until(
            lambda: ssm.describe_sessions(State="History")["Sessions"][0]["SessionId"] == asked["SessionId"],
            what="the end of the session",
        )
        for _ in range(20):  # late words of one that has not looked yet: none of them may meet a closed door
            raw.sendall(websocket.frame_bytes(websocket.BINARY, b"late", masked=True))
            time.sleep(0.005)
        said = raw.recv(1 << 20)
        assert ssm_frames.CHANNEL_CLOSED.encode() in said
        goodbye = (1000).to_bytes(2, "big")
        assert said.endswith(goodbye)
        raw.sendall(websocket.frame_bytes(websocket.CLOSE, goodbye, masked=True))
        assert raw.recv(1) == b""


def _told(raw: socket.socket, text: bytes) -> bool:
    return text in raw.recv(1 << 16, socket.MSG_PEEK)


def test_an_idle_session_ends_and_a_killed_agent_leaves_the_rest_alone(tmp_path: Path) -> None:
    box = SsmBox(tmp_path, ssm_idle_seconds="0.6")
    try:
        target = box.boot()
        client = Client(box.client(), target, "AWS-StartInteractiveCommand", command="cat")
        assert client.wait().closing == {
            **(client.closing or {}),
            "Output": "The session was idle for too long.",
        }
        box.kill(target, signal.SIGKILL)
        until(lambda: not box.ssm.agents.online(target))
        with pytest.raises(ClientError, match="is not connected"):
            box.client().start_session(Target=target)
        box.boot()
        assert bytes(run(box, target, "echo again").stdout) == b"again\n"
    finally:
        box.close()


def test_a_session_ends_with_its_instance(box: SsmBox, target: str) -> None:
    client = Client(box.client(), target, COMMAND, command="sleep 300")
    assert client.ready.wait(10)
    box.ec2.add(target, state="stopping")
    try:
        assert client.wait().closing == {**(client.closing or {}), "Output": f"{target} is not running."}
        with pytest.raises(ClientError, match="InvalidInstanceId"):
            box.send("true", to=target)
    finally:
        box.ec2.add(target)
