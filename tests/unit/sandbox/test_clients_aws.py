"""The AWS command line against a sandbox, as it comes from its package index: nothing of it is told where it is."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.sandbox.client_world import NEEDED, client, same, tree
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox

pytestmark = NEEDED


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("aws")) as box:
        yield box


def aws(box: SandboxBox, *words: str | Path, code: int = 0) -> str:
    return client(box, "aws", *words, code=code).stdout


def test_s3_syncs_both_ways_and_copies_in_parts(box: SandboxBox, tmp_path: Path) -> None:
    source = tree(tmp_path / "source")
    aws(box, "s3", "mb", "s3://trees")
    aws(box, "s3", "sync", source, "s3://trees/t", "--only-show-errors")
    assert aws(box, "s3", "sync", source, "s3://trees/t") == ""  # nothing has changed
    aws(box, "s3", "sync", "s3://trees/t", tmp_path / "back", "--only-show-errors")
    assert same(source, tmp_path / "back")
    aws(box, "s3", "cp", source / "big", "s3://trees/big", "--checksum-algorithm", "SHA256")
    told = box.client("s3").head_object(Bucket="trees", Key="big", ChecksumMode="ENABLED")
    assert told["ChecksumSHA256"]
    assert told["ETag"].endswith('-3"')  # of 8 MiB each
    url = aws(box, "s3", "presign", "s3://trees/big").strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == (source / "big").read_bytes()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(url.replace("/trees/big", "/trees/t/deep/plain"))
    aws(box, "s3", "rb", "--force", "s3://trees")
    assert box.client("s3").list_buckets()["Buckets"] == []


def test_an_instance_is_bought_asked_and_given_back(box: SandboxBox) -> None:
    box.role()
    query = ("--query", "Instances[0].InstanceId", "--output", "text")
    kind = ("--image-id", box.image(), "--instance-type", "t3.micro", "--iam-instance-profile", "Name=node")
    # once as a user types it; what follows has the same variables around it
    words = ("run", "--", *map(str, ("aws", "ec2", "run-instances", *kind, *query)))
    bought = box.runctl(*words, PATH=client(box, "sh", "-c", "echo $PATH").stdout.strip())
    instance = bought.stdout.strip()
    aws(box, "ec2", "wait", "instance-running", "--instance-ids", instance)
    assert box.state(instance) == "running"

    def send(command: str) -> tuple[str, ...]:
        to = ("--instance-ids", instance, "--document-name", "AWS-RunShellScript")
        what = ("--parameters", json.dumps({"commands": [command]}))
        sent = aws(box, "ssm", "send-command", *to, *what, "--query", "Command.CommandId", "--output", "text")
        return ("--command-id", sent.strip(), "--instance-id", instance)

    good = send("echo out; echo err >&2")
    aws(box, "ssm", "wait", "command-executed", *good)
    told = json.loads(aws(box, "ssm", "get-command-invocation", *good))
    assert (told["Status"], told["ResponseCode"]) == ("Success", 0)
    assert (told["StandardOutputContent"], told["StandardErrorContent"]) == ("out\n", "err\n")
    aws(box, "ssm", "wait", "command-executed", *send("exit 3"), code=255)
    aws(box, "ec2", "terminate-instances", "--instance-ids", instance)
    aws(box, "ec2", "wait", "instance-terminated", "--instance-ids", instance)
    assert box.state(instance) == "terminated"
