"""What comes to a run from outside: a checkpoint and data out of a store, secrets through a pipe."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agentbox import AgentBox, AgentError, until
from tests.s3box import s3_in

from runctl.sandbox.s3.standalone import ACCESS_KEY, SECRET_KEY

SHOWS = """
import os
folder = os.environ.get("RUNCTL_DATA_DIR", "")
for base, _, names in sorted(os.walk(folder, followlinks=True)):
    for name in sorted(names):
        path = os.path.join(base, name)
        print(os.path.relpath(path, folder), open(path).read())
print("resumes", open(os.environ["RUNCTL_RESUME_PATH"]).read() if "RUNCTL_RESUME_PATH" in os.environ else None)
"""


@pytest.fixture
def bucket(tmp_path: Path, box: AgentBox) -> Iterator[Any]:
    """A boto3 client on an S3 that the machine's environment leads to."""
    with s3_in(tmp_path / "s3") as s3:
        client = s3.client()
        client.create_bucket(Bucket="bucket")
        box.env.update(
            AWS_ENDPOINT_URL=s3.server.url, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY
        )
        yield client


def put(client: Any, **objects: str) -> None:
    for key, text in objects.items():
        client.put_object(Bucket="bucket", Key=key.replace("__", "/"), Body=text.encode())


def data(box: AgentBox, run: str, url: str, name: str = "set", **more: Any) -> Any:
    return box.whole(run, SHOWS, data=[{"from": url, "to": name}], **more)


def test_data_is_below_the_folder_the_script_is_told(box: AgentBox, bucket: Any) -> None:
    put(bucket, train__a="1", train__deep__b="2", trainer="no", train__empty="")
    bucket.put_object(Bucket="bucket", Key="train/deep/", Body=b"")  # what a console makes of a folder
    followed = data(box, "r1", "s3://bucket/train")
    assert followed.output.decode().splitlines() == ["set/a 1", "set/empty ", "set/deep/b 2", "resumes None"]
    (done,) = [each for each in followed.of("step.finished") if each["step"] == "data"]
    assert not done["skipped"]


def test_one_object_by_its_own_address_and_a_whole_bucket(box: AgentBox, bucket: Any) -> None:
    put(bucket, train__a="1", train__b="2")
    assert data(box, "r1", "s3://bucket/train/a").output.startswith(b"set/a 1\nresumes")
    assert data(box, "r2", "s3://bucket").output.startswith(b"set/train/a 1\nset/train/b 2\nresumes")


def test_what_is_here_and_unchanged_is_not_read_again(box: AgentBox, bucket: Any, tmp_path: Path) -> None:
    put(bucket, train__a="1", train__b="2", train__c="3")
    data(box, "r1", "s3://bucket/train/")
    files = next((box.home / "data").iterdir()) / "files"
    before = {path.name: path.stat().st_mtime_ns for path in files.iterdir()}
    put(bucket, train__b="4", train__d="5")
    bucket.delete_object(Bucket="bucket", Key="train/c")
    assert data(box, "r2", "s3://bucket/train/").output.startswith(b"set/a 1\nset/b 4\nset/d 5\nres")
    after = {path.name: path.stat().st_mtime_ns for path in files.iterdir()}
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]
    (files / "a").unlink()
    assert data(box, "r3", "s3://bucket/train/").output.startswith(b"set/a 1\nset/b 4\nset/d 5\nres")


@pytest.mark.parametrize("key", ["train/../../etc/x", "train/a//b", "train/./x", "train//x"])
def test_a_key_that_leads_elsewhere_is_refused(key: str, box: AgentBox, bucket: Any, tmp_path: Path) -> None:
    put(bucket, train__a="1")
    bucket.put_object(Bucket="bucket", Key=key, Body=b"bad")
    followed = data(box, "r1", "s3://bucket/train")
    assert (followed.last["outcome"], followed.last["error"]["code"]) == ("failed", "data-unsafe")
    assert not [path for path in (box.home / "data").rglob("*") if path.is_file() and path.name == "x"]


def test_a_key_that_is_file_and_folder_is_refused(box: AgentBox, bucket: Any) -> None:
    put(bucket, train__a="1", train__a__b="2")
    assert data(box, "r1", "s3://bucket/train").last["error"]["code"] == "data-unsafe"


def test_data_that_is_not_there_is_said(box: AgentBox, bucket: Any) -> None:
    put(bucket, training="1")
    last = data(box, "r1", "s3://bucket/train").last
    assert (last["reason"], last["error"]["facts"]["url"]) == ("data-missing", "s3://bucket/train")
    assert data(box, "r2", "s3://none/x").last["reason"] == "store-no-bucket"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_a_name_for_data_is_one_plain_name(name: str, box: AgentBox) -> None:
    with pytest.raises(AgentError) as refused:
        box.launch("r1", "", data=[{"from": "s3://bucket/x", "to": name}])
    assert refused.value.code == "agent-request"


def test_two_sets_of_data_with_one_name_are_told_apart_before_anything_is_fetched(box: AgentBox) -> None:
    with pytest.raises(AgentError) as refused:
        box.launch("r1", "", data=[{"from": f"s3://{b}/train", "to": "train"} for b in ("one", "two")])
    assert (refused.value.code, refused.value.facts) == ("data-names", {"name": "train"})


def test_data_and_environment_come_side_by_side_and_a_failure_of_one_ends_both(
    box: AgentBox, bucket: Any
) -> None:
    put(bucket, train__a="1")
    environment = {"kind": "requirements", "files": ["r.txt"], "python": None, "digest": "0" * 64}
    blobs = {"r.txt": b"no-such-package-as-this==1\n"}
    followed = data(
        box,
        "r1",
        "s3://bucket/none",
        files=blobs,
        environment={**environment, "installer": "auto", "requirements": None, "blobs": {}},
    )
    assert followed.last["reason"] == "data-missing"


def manifest(tmp_path: Path, **change: Any) -> dict[str, Any]:
    """A store with one checkpoint of one file, and the access to it."""
    import hashlib

    attempt = tmp_path / "store/runs/old/1"
    (attempt / "checkpoints.2/deep").mkdir(parents=True)
    (attempt / "checkpoints.2/deep/a.pt").write_text("weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    file = {
        "path": "deep/a.pt",
        "size": 7,
        "digest": digest,
        "modified": 1.0,
        "key": "checkpoints.2/deep/a.pt",
    }
    entry = {"path": "deep/a.pt", "format": "torch", "size": 7, "step": 3, "epoch": None, "modified": 1.0}
    listed = {"v": 1, "checkpoints": [{**entry, "files": [{**file, **change}]}]}
    (attempt / "checkpoints.json").write_text(json.dumps(listed))
    return {"kind": "directory", "path": str(tmp_path / "store")}


def test_a_run_resumes_from_a_checkpoint_in_the_store(box: AgentBox, tmp_path: Path) -> None:
    store = manifest(tmp_path)
    resume = {"store": "runs/old/1/checkpoints/deep/a.pt"}
    followed = box.whole("r1", SHOWS, store=store, resume_from=resume)
    assert followed.output == b"resumes weights\n"
    assert [each["step"] for each in followed.of("step.finished")].count("checkpoint") == 1


@pytest.mark.parametrize(
    ("change", "address", "code"),
    [
        ({"digest": "0" * 64}, "runs/old/1/checkpoints/deep/a.pt", "store-corrupt"),
        ({"size": 8}, "runs/old/1/checkpoints/deep/a.pt", "store-corrupt"),
        ({"path": "../../x"}, "runs/old/1/checkpoints/deep/a.pt", "store-corrupt"),
        ({"key": "checkpoints/gone"}, "runs/old/1/checkpoints/deep/a.pt", "store-missing"),
        ({}, "runs/old/1/checkpoints/other.pt", "checkpoint-not-stored"),
        ({}, "runs/other/1/checkpoints/a.pt", "checkpoint-not-stored"),
        ({}, "runs/old/checkpoints/a.pt", "agent-request"),
    ],
)
def test_a_checkpoint_that_is_not_what_was_recorded_starts_nothing(
    change: dict[str, Any], address: str, code: str, box: AgentBox, tmp_path: Path
) -> None:
    store = manifest(tmp_path, **change)
    followed = box.whole("r1", SHOWS, store=store, resume_from={"store": address})
    assert (followed.last["outcome"], followed.last["error"]["code"]) == ("failed", code)
    assert followed.output == b""


SECRET = "import os; print(os.environ['TOKEN'][:3], os.environ['PLAIN'])"
CANARY = "hunter2-canary-" + "x" * 100_000  # more than a pipe holds


def test_secrets_reach_the_script_and_nothing_else(box: AgentBox) -> None:
    box.launch("r1", SECRET, env={"PLAIN": "p"}, secret_env=["TOKEN"])
    until(lambda: b"secrets" in (box.folder("r1") / "events.jsonl").read_bytes(), "it waits")
    assert box.status("r1")["state"] == "preparing"
    answer = box.call("secrets", {"run": "r1", "values": {"TOKEN": CANARY}})
    assert answer["delivered"]
    box.ended("r1")
    assert box.output("r1") == b"hun p\n"
    for path in box.home.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path
    assert not (box.folder("r1") / "secrets").exists()
    assert box.call("secrets", {"run": "r1", "values": {"TOKEN": "x"}}) == {
        "delivered": False,
        "state": "ended",
    }


def test_secrets_may_come_before_the_run_does(box: AgentBox) -> None:
    answers: list[Any] = []
    request = {"run": "r1", "values": {"TOKEN": "abcdef"}, "wait": 20}
    early = threading.Thread(target=lambda: answers.append(box.call("secrets", request)))
    early.start()
    box.launch("r1", SECRET, env={"PLAIN": "p"}, secret_env=["TOKEN"])
    early.join()
    assert answers[0]["delivered"]
    box.ended("r1")
    assert box.output("r1") == b"abc p\n"


def test_secrets_for_a_run_that_never_comes_are_given_up(box: AgentBox) -> None:
    with pytest.raises(AgentError) as unknown:
        box.call("secrets", {"run": "r1", "values": {}, "wait": 0.2})
    assert unknown.value.code == "run-unknown"


def test_a_secret_that_is_missing_is_named_without_its_value(box: AgentBox) -> None:
    box.launch("r1", SECRET, secret_env=["TOKEN", "OTHER"])
    with pytest.raises(AgentError) as refused:
        box.call("secrets", {"run": "r1", "values": {"TOKEN": "canary"}})
    assert refused.value.facts["detail"] == "no value for OTHER"
    box.cancel("r1")
    assert box.ended("r1")["outcome"] == "cancelled"
    assert not (box.folder("r1") / "secrets").exists()


def test_secrets_for_a_run_whose_supervisor_died_are_not_swallowed(box: AgentBox) -> None:
    box.launch("r1", SECRET, secret_env=["TOKEN"])
    until((box.folder("r1") / "secrets").exists, "it waits")
    os.kill(box.status("r1")["supervisor"]["pid"], signal.SIGKILL)
    until(lambda: box.status("r1")["state"] == "ended", "it is dead")
    with pytest.raises(AgentError) as stopped:
        box.call("secrets", {"run": "r1", "values": {"TOKEN": "x"}})
    assert stopped.value.code == "agent-stopped"


def test_a_client_killed_while_it_hands_over_leaves_the_run_waiting(box: AgentBox) -> None:
    box.launch("r1", SECRET, env={"PLAIN": "p"}, secret_env=["TOKEN"])
    until((box.folder("r1") / "secrets").exists, "it waits")
    with (box.folder("r1") / "secrets").open("wb") as half:
        half.write(b'{"TOKEN": "half')
    assert box.status("r1")["state"] == "preparing"
    assert box.call("secrets", {"run": "r1", "values": {"TOKEN": "whole"}})["delivered"]
    box.ended("r1")
    assert box.output("r1") == b"who p\n"
