"""The machine's way to S3 on bad days: errors, throttles, cuts, slowness, tokens that end; and with a role's own keys."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.bootbox import init_of
from tests.storebox import PYTHONS, program
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox, until
from tests.unit.sandbox.instance_world import OBSTACLE, WHY

from runctl.agent.failure import AgentFailure
from runctl.agent.store import open_store
from runctl.s3 import download as s3_download
from runctl.s3 import upload as s3_upload
from runctl.s3.patience import Patience

BUCKET = "memory"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("weather"), *(["--plain"] if OBSTACLE else [])) as box:
        yield box


@pytest.fixture
def store(box: SandboxBox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    box.reset()
    box.client("s3").create_bucket(Bucket=BUCKET)
    monkeypatch.setattr(s3_upload, "ONE_PIECE", 4 << 20)
    monkeypatch.setattr(s3_upload, "PART", 5 << 20)
    monkeypatch.setattr(s3_download, "STRETCH", 5 << 20)
    access = {"kind": "s3", "bucket": BUCKET, "prefix": "p", "region": "us-east-1"}
    with closing(open_store(access, env=box.values)) as store:
        yield store


@pytest.mark.parametrize(
    "weather",
    [
        ("unavailable", "--chance", "0.3"),
        ("throttle", "--chance", "0.3"),
        ("error", "--times", "3"),
        ("expired", "--times", "2"),
        ("cut", "--after-bytes", "1000000", "--chance", "0.5"),
        ("cut", "--after-bytes", "1000000", "--chance", "0.3", "--direction", "up"),
        ("cut", "--after-bytes", "0", "--times", "4"),
        ("slow", "--delay", "0.3", "--rate", "20000000"),
        ("skew", "--delay", "7200"),
    ],
    ids=" ".join,
)
def test_files_go_there_and_back_whatever_the_weather(
    weather: tuple[str, ...], box: SandboxBox, store: Any, tmp_path: Path
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(17 << 20))
    box.weather(*weather, *([] if weather[0] == "skew" else ["--service", "s3"]))
    size, digest = store.put_file("file", str(source))
    store.get_file("file", str(back), size=size, digest=digest)
    assert hashlib.sha256(back.read_bytes()).hexdigest() == hashlib.sha256(source.read_bytes()).hexdigest()
    assert [each.key for each in store.list()] == ["file"]
    struck = [each["hit"] for each in box.weather()["weather"]]
    assert all(struck)
    box.reset()


def test_an_answer_lost_after_the_upload_became_the_object_is_no_failure(
    box: SandboxBox, store: Any, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(os.urandom(11 << 20))
    lost = ["--action", "CompleteMultipartUpload", "--after-bytes", "0", "--times", "1"]
    box.weather("cut", "--service", "s3", *lost)
    assert store.put_file("file", str(tmp_path / "source"))[0] == 11 << 20
    assert store.size("file") == 11 << 20


def test_a_permission_that_is_missing_is_said_at_once(box: SandboxBox, store: Any) -> None:
    box.weather("denied", "--service", "s3", "--action", "PutObject")
    begun = time.monotonic()
    with pytest.raises(AgentFailure) as denied:
        store.put("k", b"")
    assert (denied.value.code, denied.value.facts["action"]) == ("store-denied", "PUT")
    assert time.monotonic() - begun < 2


def test_patience_has_an_end(box: SandboxBox, store: Any) -> None:
    box.weather("unavailable", "--service", "s3")
    access = {"kind": "s3", "bucket": BUCKET, "prefix": "p", "region": "us-east-1"}
    brisk = open_store(access, env=box.values, patience=Patience(attempts=100, seconds=1.0))
    begun = time.monotonic()
    with closing(brisk), pytest.raises(AgentFailure) as failed:
        brisk.get("k")
    assert failed.value.code == "store-unreachable"
    assert "ServiceUnavailable" in failed.value.facts["detail"]
    assert time.monotonic() - begun < 5


CODE = """
import hashlib, os
from runctl.agent.store import open_store
store = open_store({"kind": "s3", "bucket": "memory", "prefix": "from-the-machine", "region": "us-east-1"})
with open("/tmp/big", "wb") as file:
    for _ in range(80): file.write(os.urandom(1 << 20))
size, digest = store.put_file("big", "/tmp/big")
store.get_file("big", "/tmp/back", size=size, digest=digest)
store.put("digest", digest.encode())
"""


@pytest.mark.skipif(bool(OBSTACLE), reason=WHY)
@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.split("/")[-3])
def test_an_instance_uses_its_role_and_renews_it(python: str, box: SandboxBox, store: Any) -> None:
    statement = {
        "Effect": "Allow",
        "Action": "s3:*Object",
        "Resource": "arn:aws:s3:::memory/from-the-machine/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    box.weather("expired", "--service", "s3", "--times", "1", "--skip", "2", "--access-key", "ASIA*")
    data = f"#!/bin/sh\nuntil [ -e /root/go ]; do sleep 0.05; done; exec {python} -I -S /root/code.py\n"
    (instance,) = box.launch(IamInstanceProfile=box.role("machine", core=False, policy=policy), UserData=data)
    root = Path(f"/proc/{until(lambda: init_of(instance))}/root/root")
    (root / "code.py").write_text(program(CODE))
    (root / "go").touch()
    s3 = box.client("s3")
    key = "from-the-machine/digest"

    def arrived() -> bool:
        return any(each["Key"] == key for each in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []))

    until(arrived, lambda: str(box.client("ec2").get_console_output(InstanceId=instance).get("Output")))
    big = s3.get_object(Bucket=BUCKET, Key="from-the-machine/big")["Body"].read()
    digest = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    assert box.weather()["weather"][0]["hit"] == 1
    assert (len(big), hashlib.sha256(big).hexdigest()) == (80 << 20, digest)
