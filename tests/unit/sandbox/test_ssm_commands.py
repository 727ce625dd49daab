"""Run Command through boto3, run by real agents: results, refusals, time limits, cancelling, weather."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.ssmbox import SsmBox, until

ONE = "i-0123456789abcdef0"
TWO = "i-0123456789abcdef1"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SsmBox]:
    """A sandbox with two instances, for tests that leave it as it was."""
    box = SsmBox(tmp_path_factory.mktemp("ssm"))
    try:
        box.boot(ONE, tags={"Name": "one", "runctl:run": "r1"}, wait=False)
        box.boot(TWO, tags={"Name": "two", "runctl:run": "r1"})
        until(lambda: box.ssm.agents.online(ONE))
        yield box
    finally:
        box.close()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[SsmBox]:
    """A sandbox of the test's own, where commands become visible late and time is fast."""
    box = SsmBox(tmp_path, ssm_clock_factor="40", ssm_resend_seconds="0.2")
    try:
        yield box
    finally:
        box.close()


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_a_command_runs_and_tells_all(shared: SsmBox) -> None:
    sent = shared.send("echo out", "echo err >&2", "exit 3", to=ONE, Comment="try")
    result = shared.result(sent, ONE)
    assert (result["Status"], result["ResponseCode"], result["Comment"]) == ("Failed", 3, "try")
    assert result["StandardOutputContent"] == "out\n"
    assert result["StandardErrorContent"].startswith("err\n")
    assert result["ExecutionElapsedTime"].startswith("PT")
    listed = shared.client().list_command_invocations(CommandId=sent, Details=True)["CommandInvocations"]
    assert [each["InstanceName"] for each in listed] == ["one"]
    assert listed[0]["CommandPlugins"][0]["ResponseCode"] == 3
    command = shared.client().list_commands(CommandId=sent)["Commands"][0]
    assert (command["Status"], command["TargetCount"], command["ErrorCount"]) == ("Failed", 1, 1)


def test_a_command_that_does_nothing_takes_less_than_a_tenth_of_a_second(shared: SsmBox) -> None:
    took = []
    for _ in range(5):
        began = time.monotonic()
        assert shared.result(shared.send("true", to=ONE), ONE)["Status"] == "Success"
        took.append(time.monotonic() - began)
    assert min(took) < 0.1, took


def test_by_tag_it_runs_on_each(shared: SsmBox) -> None:
    answer = shared.client().send_command(
        Targets=[{"Key": "tag:runctl:run", "Values": ["r1"]}],
        DocumentName="AWS-RunShellScript",
        Parameters={"commands": ["echo $AWS_SSM_INSTANCE_ID"]},
        MaxConcurrency="1",
    )["Command"]
    for instance in (ONE, TWO):
        assert shared.result(answer["CommandId"], instance)["StandardOutputContent"] == f"{instance}\n"
    assert shared.client().list_commands(CommandId=answer["CommandId"])["Commands"][0]["CompletedCount"] == 2


def test_targets_that_match_nothing_are_a_success_of_nothing(shared: SsmBox) -> None:
    client = shared.client()
    sent = client.send_command(
        Targets=[{"Key": "tag:Name", "Values": ["nobody"]}],
        DocumentName="AWS-RunShellScript",
        Parameters={"commands": ["true"]},
    )["Command"]["CommandId"]
    told = until(
        lambda: [c for c in client.list_commands(CommandId=sent)["Commands"] if c["Status"] != "Pending"]
    )
    assert (told[0]["Status"], told[0]["StatusDetails"]) == ("Success", "NoInstancesInTag")


def test_the_first_failure_stops_what_was_not_sent(shared: SsmBox) -> None:
    sent = shared.client().send_command(
        Targets=[{"Key": "InstanceIds", "Values": [ONE, TWO]}],
        DocumentName="AWS-RunShellScript",
        Parameters={"commands": ["exit 1"]},
        MaxConcurrency="1",
        MaxErrors="0",
    )["Command"]["CommandId"]
    assert shared.result(sent, ONE)["Status"] == "Failed"
    assert shared.result(sent, TWO)["StatusDetails"] == "Terminated"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"InstanceIds": ["i-0aaaaaaaaaaaaaaaa"]}, "InvalidInstanceId"),
        ({"DocumentName": "AWS-NoSuchThing"}, "InvalidDocument"),
        ({"DocumentName": "AWS-StartSSHSession"}, "InvalidDocument"),
        ({"DocumentName": "AWS-RunPowerShellScript"}, "UnsupportedPlatformType"),
        ({"Parameters": {}}, "InvalidParameters"),
        ({"Parameters": {"commands": ["true"], "colour": ["red"]}}, "InvalidParameters"),
        ({"Parameters": {"commands": ["true"], "executionTimeout": ["never"]}}, "InvalidParameters"),
        ({"TimeoutSeconds": 29}, "ValidationException"),
        ({"TimeoutSeconds": 2_592_001}, "ValidationException"),
        ({"InstanceIds": [f"i-{number:017x}" for number in range(51)]}, "ValidationException"),
        ({"Comment": "x" * 101}, "ValidationException"),
        ({"Targets": [{"Key": "tag:a", "Values": ["b"]}]}, "ValidationException"),
    ],
)
def test_what_the_service_refuses_is_refused(shared: SsmBox, changes: dict[str, Any], code: str) -> None:
    client = shared.client(checked=False)
    asked = {
        "InstanceIds": [ONE],
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": ["true"]},
        **changes,
    }
    with pytest.raises(ClientError) as refused:
        client.send_command(**asked)
    assert code_of(refused) == code


def test_lists_are_filtered_and_paged(shared: SsmBox) -> None:
    client = shared.client()
    sent = [shared.send(f"exit {number % 2}", to=TWO) for number in range(4)]
    for each in sent:
        shared.result(each, TWO)
    failed = client.list_commands(InstanceId=TWO, Filters=[{"key": "Status", "value": "Failed"}])["Commands"]
    assert {sent[1], sent[3]} <= {each["CommandId"] for each in failed}
    assert sent[0] not in {each["CommandId"] for each in failed}
    pages = client.get_paginator("list_commands").paginate(InstanceId=TWO, PaginationConfig={"PageSize": 1})
    ids = [each["CommandId"] for page in pages for each in page["Commands"]]
    assert ids[:4] == sent[::-1], "the newest is first"
    with pytest.raises(ClientError) as refused:
        client.list_commands(NextToken="nonsense!")
    assert code_of(refused) == "InvalidNextToken"


def test_cancelled_with_all_it_started(shared: SsmBox, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    sent = shared.send(f"sleep 300 & echo $! > {pid}; wait", to=ONE)
    until(lambda: pid.exists() and pid.read_text().strip())
    shared.client().cancel_command(CommandId=sent)
    result = shared.result(sent, ONE, seconds=5)
    assert (result["Status"], result["ResponseCode"]) == ("Cancelled", 137)
    until(lambda: not _alive(int(pid.read_text())), what="the child is gone")
    shared.client().cancel_command(CommandId=sent)
    assert shared.result(sent, ONE)["Status"] == "Cancelled"
    with pytest.raises(ClientError) as refused:
        shared.client().cancel_command(CommandId="0" * 36)
    assert code_of(refused) == "InvalidCommandId"


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_output_in_a_bucket(shared: SsmBox) -> None:
    s3 = shared.client("s3")
    s3.create_bucket(Bucket="logs")
    sent = shared.send(
        "seq 10000", "echo no >&2", to=ONE, OutputS3BucketName="logs", OutputS3KeyPrefix="run/1"
    )
    result = shared.result(sent, ONE)
    base = f"run/1/{sent}/{ONE}/awsrunShellScript/0.awsrunShellScript"
    assert result["StandardOutputUrl"].endswith(f"/logs/{base}/stdout")
    whole = "".join(f"{number}\n" for number in range(1, 10_001)).encode()
    assert s3.get_object(Bucket="logs", Key=f"{base}/stdout")["Body"].read() == whole, (
        "the bucket has what the API cuts off"
    )
    assert s3.get_object(Bucket="logs", Key=f"{base}/stderr")["Body"].read() == b"no\n"


def test_the_working_directory_is_kept_to(shared: SsmBox, tmp_path: Path) -> None:
    sent = shared.send("pwd", to=ONE, parameters={"workingDirectory": [str(tmp_path)]})
    assert shared.result(sent, ONE)["StandardOutputContent"] == f"{tmp_path}\n"
    wrong = shared.send("pwd", to=ONE, parameters={"workingDirectory": ["/no/such/place"]})
    result = shared.result(wrong, ONE)
    assert result["Status"] == "Failed"
    assert "/no/such/place" in result["StandardErrorContent"]


# --- what needs a sandbox of its own ----------------------------------------------------------------------


def test_an_invocation_shows_late_when_set_so(tmp_path: Path) -> None:
    box = SsmBox(tmp_path, ssm_visible_seconds="0.4")
    try:
        sent = box.send("true", to=box.boot())
        with pytest.raises(ClientError) as missing:
            box.client().get_command_invocation(CommandId=sent, InstanceId=ONE)
        assert code_of(missing) == "InvocationDoesNotExist"
        until(lambda: box.client().list_command_invocations(CommandId=sent)["CommandInvocations"])
        assert box.result(sent, ONE)["Status"] == "Success"
    finally:
        box.close()


def test_registering_takes_its_time_when_set_so(tmp_path: Path) -> None:
    box = SsmBox(tmp_path, ssm_register_seconds="0.5")
    try:
        box.boot(wait=False)
        until(lambda: box.ssm.agents.of(ONE).channel)
        assert box.client().describe_instance_information()["InstanceInformationList"] == []
        with pytest.raises(ClientError) as refused:
            box.send("true", to=ONE)
        assert code_of(refused) == "InvalidInstanceId"
        until(lambda: box.client().describe_instance_information()["InstanceInformationList"])
        assert box.result(box.send("true", to=ONE), ONE)["Status"] == "Success"
    finally:
        box.close()


def test_a_command_for_an_agent_that_died_waits_for_the_next(box: SsmBox) -> None:
    box.boot()
    box.kill(ONE, signal.SIGKILL)
    until(lambda: not box.ssm.agents.online(ONE))
    told = box.client().describe_instance_information()["InstanceInformationList"]
    assert [each["PingStatus"] for each in told] == ["ConnectionLost"]
    assert box.client().get_connection_status(Target=ONE)["Status"] == "notconnected"
    sent = box.send("echo late", to=ONE, TimeoutSeconds=600)
    assert box.client().get_command_invocation(CommandId=sent, InstanceId=ONE)["Status"] == "Pending"
    box.boot()
    assert box.result(sent, ONE)["StandardOutputContent"] == "late\n"


def test_undelivered_commands_time_out(box: SsmBox) -> None:
    box.boot()
    box.storm(kind="lost", instance=ONE)
    sent = box.send("true", to=ONE, TimeoutSeconds=30)
    result = box.result(sent, ONE)
    assert (result["Status"], result["StatusDetails"]) == ("TimedOut", "DeliveryTimedOut")
    assert result["ResponseCode"] == -1
    assert box.client().list_commands(CommandId=sent)["Commands"][0]["DeliveryTimedOutCount"] == 1


def test_a_command_whose_agent_dies_expires(box: SsmBox) -> None:
    box.boot()
    sent = box.send("sleep 60", to=ONE, TimeoutSeconds=30, parameters={"executionTimeout": ["10"]})
    until(
        lambda: box.client().get_command_invocation(CommandId=sent, InstanceId=ONE)["Status"] == "InProgress"
    )
    box.kill(ONE, signal.SIGKILL)
    assert box.result(sent, ONE)["StatusDetails"] == "DeliveryTimedOut"
    for each in Path("/proc").glob(
        "[0-9]*/environ"
    ):  # the command itself outlives the agent, as with the real one
        try:
            if f"HOME={box.folder / ONE}".encode() in each.read_bytes():
                os.kill(int(each.parent.name), signal.SIGKILL)
        except OSError:
            continue


def test_weather_hides_refuses_and_throttles(box: SsmBox) -> None:
    box.boot()
    box.storm(kind="undeliverable", instance=ONE, times=1)
    result = box.result(box.send("true", to=ONE), ONE)
    assert (result["Status"], result["StatusDetails"]) == ("Failed", "Undeliverable")
    box.storm(kind="throttle", service="ssm", action="ListCommands")
    with pytest.raises(ClientError) as throttled:
        box.client().list_commands()
    assert code_of(throttled) == "ThrottlingException"
    box.storm(kind="silent", instance=ONE)
    assert box.client().describe_instance_information()["InstanceInformationList"] == []


def test_lost_acknowledgements_and_doubled_jobs_run_a_command_once(box: SsmBox, tmp_path: Path) -> None:
    box.boot()
    lost = {"agent_job_ack": 2, "agent_job_reply": 1, "agent_job_reply_ack": 1}

    def tamper(_way: str, frame: Any) -> list[Any]:
        if lost.get(frame.type, 0) > 0:
            lost[frame.type] -= 1
            return []
        return [frame, frame] if frame.type == "agent_job" else [frame]

    box.ssm.agents.tamper = tamper
    count = tmp_path / "count"
    sent = box.send(f"echo once >> {count}", to=ONE, TimeoutSeconds=600)
    assert box.result(sent, ONE)["Status"] == "Success"
    assert count.read_text() == "once\n"
    until(lambda: not box.ssm.agents.of(ONE).jobs, what="the job is struck")


def test_nobody_speaks_for_another_instance(box: SsmBox) -> None:
    box.ec2.add(TWO)
    box.boot()
    held = box.state.role_credentials(ONE, "trainer")
    from runctl.sandbox.guest.aws import HttpFailed, Identity

    stolen = Identity("", TWO, "us-east-1", "", held.access_key, held.secret, held.token, held.expires)
    for path, service, headers in (
        (f"/v1/control-channel/{TWO}", "ssmmessages", {}),
        ("/", "ssm", {"X-Amz-Target": "AmazonSSM.UpdateInstanceInformation"}),
    ):
        work = stolen.call(
            "POST",
            box.state.endpoint + path,
            service=service,
            body=b'{"InstanceId":"%s"}' % TWO.encode(),
            headers=headers,
        )
        with pytest.raises(HttpFailed, match="AccessDenied"):
            box.run(work)
