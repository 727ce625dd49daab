"""What was recorded of the genuine agent, one test a behaviour: our stand-in is held to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.ssmbox import SsmBox, until
from tests.ssmclient import Client

ONE = "i-0123456789abcdef0"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SsmBox]:
    box = SsmBox(tmp_path_factory.mktemp("agent"), ssm_clock_factor="1")
    try:
        box.boot(ONE)
        yield box
    finally:
        box.close()


def outcome(box: SsmBox, *lines: str, **more: Any) -> dict[str, Any]:
    return box.result(box.send(*lines, to=ONE, **more), ONE)


def _both(said: dict[str, list[str]], job: str) -> bool:
    return len(said.get(job, ())) >= 2


def test_replies_arrive_out_of_order_and_the_end_is_sticky(box: SsmBox) -> None:
    said: dict[str, list[str]] = {}

    def listen(_way: str, frame: Any) -> list[Any]:
        if frame.type == "agent_job_reply":
            body = json.loads(frame.payload)
            said.setdefault(body["jobId"], []).append(json.loads(body["content"])["documentStatus"])
        return [frame]

    box.ssm.agents.tamper = listen
    try:
        for _ in range(20):  # "often", not always: a busy machine may take longer than the agent's update
            sent = box.send("true", to=ONE)
            job = f"aws.ssm.{sent}.{ONE}"
            until(partial(_both, said, job), what="both replies")
            if said[job] == ["Success", "InProgress"]:
                break
    finally:
        box.ssm.agents.tamper = None
    assert said[job] == ["Success", "InProgress"]
    assert box.result(sent, ONE)["Status"] == "Success"


def test_output_is_empty_until_the_end(box: SsmBox, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    sent = box.send("echo early", f"while [ ! -e {flag} ]; do sleep 0.05; done", to=ONE)
    client = box.client()
    told = until(lambda: _running(client.get_command_invocation(CommandId=sent, InstanceId=ONE)))
    assert told["StandardOutputContent"] == ""
    assert told["ResponseCode"] == -1
    flag.touch()
    assert box.result(sent, ONE)["StandardOutputContent"] == "early\n"


def _running(told: dict[str, Any]) -> dict[str, Any] | None:
    return told if told["Status"] == "InProgress" else None


def test_the_first_characters_are_kept_and_marked(box: SsmBox) -> None:
    result = outcome(box, "seq 20000", "seq 20000 >&2")
    out = result["StandardOutputContent"]
    assert len(out) == 24_000
    assert out.startswith("1\n2\n")
    assert out.endswith("--output truncated--")
    assert len(result["StandardErrorContent"]) == 8_000, "the service cuts, not the agent"
    told = box.client().list_command_invocations(CommandId=result["CommandId"], Details=True)
    plugin = told["CommandInvocations"][0]["CommandPlugins"][0]["Output"]
    assert len(plugin) == 2_500
    assert plugin.endswith("--output truncated--")


def test_characters_are_cut_not_bytes(box: SsmBox) -> None:
    result = outcome(box, "i=0; while [ $i -lt 2500 ]; do printf '☃☃☃☃☃☃☃☃☃☃'; i=$((i+1)); done")
    out = result["StandardOutputContent"]
    assert len(out) == 24_000
    assert set(out.removesuffix("--output truncated--")) == {"☃"}


def test_bytes_that_are_no_text_are_replaced(box: SsmBox) -> None:
    assert outcome(box, r"printf 'a\377b\000c\n'")["StandardOutputContent"] == "a�b\0c\n"


def test_a_reply_over_120_000_bytes_is_never_sent(box: SsmBox) -> None:
    sent = box.send("head -c 24000 /dev/zero", to=ONE)
    log = box.folder / ONE / "agent.log"
    until(lambda: f"{sent}" in log.read_text() and "is not sent" in log.read_text())
    told = until(lambda: _running(box.client().get_command_invocation(CommandId=sent, InstanceId=ONE)))
    assert told["StandardOutputContent"] == ""


def test_a_failure_says_so_on_stderr(box: SsmBox) -> None:
    result = outcome(box, "exit 3")
    assert (result["Status"], result["ResponseCode"]) == ("Failed", 3)
    assert result["StandardErrorContent"].endswith("failed to run commands: exit status 3")


def test_the_execution_timeout_kills(box: SsmBox, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    began = time.monotonic()
    sent = box.send(f"sleep 300 & echo $! > {pid}; wait", to=ONE, parameters={"executionTimeout": ["5"]})
    result = box.result(sent, ONE)
    assert 4.5 < time.monotonic() - began < 8
    assert (result["Status"], result["StatusDetails"]) == ("TimedOut", "ExecutionTimedOut")
    assert result["ResponseCode"] == 137
    until(lambda: _gone(int(pid.read_text())))


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_cancel_takes_a_tenth_of_a_second(box: SsmBox) -> None:
    sent = box.send("sleep 300", to=ONE)
    until(lambda: box.ssm.commands.commands[sent].invocations[ONE].status == "InProgress")
    began = time.monotonic()
    box.client().cancel_command(CommandId=sent)
    result = box.result(sent, ONE)
    assert time.monotonic() - began < 1.0  # 0.1 s recorded; the machine of the tests is busy
    assert (result["Status"], result["ResponseCode"]) == ("Cancelled", 137)


def test_where_and_as_whom_it_runs(box: SsmBox) -> None:
    out = outcome(box, "pwd; echo $HOME; echo $AWS_SSM_INSTANCE_ID; echo $AWS_SSM_REGION_NAME")[
        "StandardOutputContent"
    ]
    folder, home, instance, region = out.split()
    assert home == str(box.folder / ONE)
    assert folder == f"{home}/.ssm-agent", "the agent's own folder"
    assert (instance, region) == (ONE, "us-east-1")


def test_detached_work_lets_its_command_end(box: SsmBox, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    line = f"setsid sh -c 'echo $$ > {pid}; exec sleep 30' </dev/null >/dev/null 2>&1 &"
    assert outcome(box, line)["Status"] == "Success"
    left = int(until(lambda: pid.read_text().strip() if pid.exists() else None))
    assert not _gone(left), "what was started so lives on"
    import os

    os.kill(left, 9)


def test_a_lost_control_channel_comes_back_and_commands_wait(box: SsmBox) -> None:
    box.ssm.agents.of(ONE).channel.abort()
    sent = box.send("echo there", to=ONE)
    until(lambda: box.ssm.agents.online(ONE), seconds=10)
    assert box.result(sent, ONE)["StandardOutputContent"] == "there\n"


def test_sessions_send_at_most_1024_bytes_a_frame(box: SsmBox) -> None:
    client = Client(
        box.client(), ONE, "AWS-StartNonInteractiveCommand", command="head -c 100000 /dev/zero"
    ).wait()
    assert client.frames >= 100_000 / 1024


def test_ports_are_not_multiplexed(box: SsmBox) -> None:
    """Ours says an agent version from before smux, so that clients do not try it; the genuine one multiplexes."""
    client = Client(box.client(), ONE, "AWS-StartPortForwardingSession", portNumber="1")
    assert client.ready.wait(10)
    assert [int(part) for part in client.handshake["AgentVersion"].split(".")] < [3, 0, 196, 0]
    box.client().terminate_session(SessionId=client.id)
    client.wait()
