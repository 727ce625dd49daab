"""Contents arrive verified or not at all."""

from __future__ import annotations

import hashlib
import os
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.agentbox import AgentBox, AgentError, packed, until


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_is_missing_is_said_and_what_was_sent_is_not(box: AgentBox) -> None:
    wanted = [digest(b"one"), digest(b"two"), digest(b"one")]
    assert box.call("probe", {"blobs": wanted})["missing"] == [digest(b"one"), digest(b"two")]
    assert box.call("receive", {}, packed(b"one")) == {"received": 1, "bytes": 3}
    assert box.call("probe", {"blobs": wanted})["missing"] == [digest(b"two")]
    kept = box.home / "blobs" / digest(b"one")[:2] / digest(b"one")
    assert kept.read_bytes() == b"one"
    assert kept.stat().st_mode & 0o222 == 0


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=4000), max_size=6))
def test_any_bytes_arrive_as_they_are(box: AgentBox, contents: list[bytes]) -> None:
    total = sum(map(len, contents))
    assert box.call("receive", {}, packed(*contents)) == {"received": len(contents), "bytes": total}
    for data in contents:
        assert (box.home / "blobs" / digest(data)[:2] / digest(data)).read_bytes() == data


def test_a_large_content_and_one_that_is_there_already(box: AgentBox) -> None:
    large = bytes(range(256)) * 20_000
    answer = box.call("receive", {}, packed(b"x", large, b"y"))
    assert (
        answer
        == box.call("receive", {}, packed(b"x", large, b"y"))
        == {"received": 3, "bytes": len(large) + 2}
    )


def test_wrong_bytes_leave_nothing_and_keep_what_came_before(box: AgentBox) -> None:
    wrong = f"{digest(b'right')} 5\n".encode() + b"wrong"
    with pytest.raises(AgentError) as caught:
        box.call("receive", {}, packed(b"before") + wrong + packed(b"after"))
    assert caught.value.code == "blob-corrupt"
    assert caught.value.facts["found"] == digest(b"wrong")
    assert [path.name for path in (box.home / "blobs").rglob("*") if path.is_file()] == [digest(b"before")]


def test_a_cut_transfer_leaves_nothing_half(box: AgentBox) -> None:
    with pytest.raises(AgentError) as caught:
        box.call("receive", {}, packed(b"before", b"x" * 1000)[:-1])
    assert (caught.value.code, caught.value.facts) == (
        "transfer-truncated",
        {"expected_bytes": 1000, "got_bytes": 999},
    )
    assert [path.name for path in (box.home / "blobs").rglob("*") if path.is_file()] == [digest(b"before")]


def test_what_a_killed_receiver_left_is_deleted_by_the_next(box: AgentBox) -> None:
    receiver = subprocess.Popen(
        box.argv("receive"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=box.env
    )
    assert receiver.stdin
    receiver.stdin.write(box.stdin({}, packed(b"whole", b"x" * 100_000)[:-1]))
    receiver.stdin.flush()
    incoming = box.home / "blobs" / "incoming"
    half = f"{receiver.pid}.*.{digest(b'x' * 100_000)}"
    until(lambda: list(incoming.glob(half)), "half of it has arrived")
    box.call("receive", {}, packed(b"other"))
    assert os.listdir(incoming) == [path.name for path in incoming.glob(half)]
    receiver.kill()
    receiver.wait()
    receiver.stdin.close()
    box.call("receive", {}, b"")
    assert os.listdir(incoming) == []


@pytest.mark.parametrize("header", [b"nonsense\n", b"abc 3\nabc", b"../../../etc/passwd 1\nx", b"0" * 4096])
def test_a_header_that_is_none_is_refused(box: AgentBox, header: bytes) -> None:
    with pytest.raises(AgentError) as caught:
        box.call("receive", {}, header)
    assert caught.value.code == "agent-request"


@pytest.mark.parametrize(
    ("command", "request_"),
    [
        ("probe", b"not json"),
        ("probe", b"[1]"),
        ("probe", b""),
        ("probe", b'{"blobs": [1]}'),
        ("nothing", b"{}"),
        ("launch", b"{}"),
        ("follow", b'{"run": "../../etc"}'),
        ("follow", b'{"run": 1}'),
        ("cancel", b'{"run": "r1"}'),
        ("status", b'{"runs": [".."]}'),
        ("remove", b'{"run": "a/b"}'),
    ],
)
def test_a_request_that_cannot_be_understood_is_refused(box: AgentBox, command: str, request_: bytes) -> None:
    with pytest.raises(AgentError) as caught:
        box.call(command, request_, keep=False)
    expected = {"agent-request"} if command != "cancel" else {"agent-request", "run-unknown"}
    assert caught.value.code in expected
    assert not box.home.exists()


@pytest.mark.parametrize("command", ["follow", "cancel"])
def test_a_run_that_is_not_there_is_said(box: AgentBox, command: str) -> None:
    with pytest.raises(AgentError) as caught:
        box.call(command, {"run": "r9", "grace": 1})
    assert (caught.value.code, caught.value.facts) == ("run-unknown", {"run": "r9"})
    assert box.call("status", {"runs": ["r9"]}) == {"runs": []}
    assert box.call("remove", {"run": "r9"}) == {"removed": False, "bytes": 0}
