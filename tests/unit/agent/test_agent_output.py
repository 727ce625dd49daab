"""``--output`` on a machine that was there already: what the script left is copied, or the run says that it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agentbox import AgentBox, until
from tests.s3box import s3_in

from runctl.sandbox.s3.standalone import ACCESS_KEY, SECRET_KEY

LEAVES = """
import os, sys
folder = os.environ["RUNCTL_OUTPUT_DIR"]
os.makedirs(folder + "/deep")
open(folder + "/result.txt", "w").write("42")
open(folder + "/deep/näme with space", "w").write("odd")
sys.exit(int(sys.argv[1]) if sys.argv[1:] else 0)
"""


@pytest.fixture
def bucket(tmp_path: Path, box: AgentBox) -> Iterator[Any]:
    with s3_in(tmp_path / "s3") as s3:
        client = s3.client()
        client.create_bucket(Bucket="bucket")
        box.env.update(
            AWS_ENDPOINT_URL=s3.server.url, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY
        )
        yield client


def keys(client: Any) -> list[str]:
    return [each["Key"] for each in client.list_objects_v2(Bucket="bucket").get("Contents", [])]


def test_it_is_at_the_address_when_the_end_is_told(box: AgentBox, bucket: Any) -> None:
    followed = box.whole("r1", LEAVES, output="s3://bucket/out/best")
    assert keys(bucket) == ["out/best/deep/näme with space", "out/best/result.txt"]
    assert bucket.get_object(Bucket="bucket", Key="out/best/result.txt")["Body"].read() == b"42"
    (done,) = [each for each in followed.of("step.finished") if each["step"] == "output"]
    assert done["summary"] == "2 files"
    kinds = followed.kinds()
    assert kinds.index("run.ended") == len(kinds) - 1
    assert box.status("r1")["outcome"] == "succeeded"


def test_a_folder_and_a_script_that_failed_by_itself(box: AgentBox, tmp_path: Path) -> None:
    box.whole("r1", LEAVES, args=["3"], output=f"file://{tmp_path}/out")
    assert (tmp_path / "out/result.txt").read_text() == "42"
    status = box.status("r1")
    assert (status["outcome"], status["exit_code"], status["error"]) == ("failed", 3, None)


def test_nothing_left_is_nothing_to_copy(box: AgentBox, tmp_path: Path) -> None:
    followed = box.whole("r1", "print(1)", output=f"file://{tmp_path}/out")
    assert not [each for each in followed.of("step.started") if each["step"] == "output"]
    assert not (tmp_path / "out").exists()


def test_a_bucket_that_is_not_there_is_told_before_the_script_starts(box: AgentBox, bucket: Any) -> None:
    followed = box.whole("r1", LEAVES, output="s3://nobodys/out")
    status = box.status("r1")
    assert (status["outcome"], status["reason"]) == ("failed", "store-no-bucket")
    assert followed.output == b""


def test_no_credentials_are_told_before_the_script_starts(box: AgentBox, bucket: Any) -> None:
    del box.env["AWS_ACCESS_KEY_ID"], box.env["AWS_SECRET_ACCESS_KEY"]
    box.env["AWS_EC2_METADATA_DISABLED"] = "true"
    box.whole("r1", LEAVES, output="s3://bucket/out")
    assert box.status("r1")["reason"] == "store-no-credentials"


def test_what_could_not_be_copied_fails_the_run_and_stays_on_the_machine(
    box: AgentBox, bucket: Any, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    source = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)\n" + LEAVES
    box.launch("r1", source, output="s3://bucket/out")
    until(lambda: box.status("r1")["state"] == "running", "the script runs")
    bucket.delete_bucket(Bucket="bucket")
    go.touch()
    followed = box.follow("r1")
    status = box.status("r1")
    assert (status["outcome"], status["exit_code"], status["reason"]) == ("failed", 0, "output-not-stored")
    facts = status["error"]["facts"]
    assert "store-no-bucket" in facts["detail"]
    assert Path(facts["path"], "result.txt").read_text() == "42"
    (failed,) = followed.of("step.failed")
    assert (failed["step"], failed["code"]) == ("output", "output-not-stored")


def test_a_run_that_has_a_store_leaves_it_to_its_keeper(box: AgentBox, tmp_path: Path) -> None:
    store = {"kind": "directory", "path": str(tmp_path / "store")}
    box.whole("r1", LEAVES, output=f"file://{tmp_path}/out", store=store)
    assert not (tmp_path / "out").exists()
