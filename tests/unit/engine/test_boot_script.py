"""User data: small, plain sh, the deadline first; and a program inside it that any Python from 3.8 on can run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agentbox import AgentBox, until
from tests.s3box import S3Box, s3_in
from tests.storebox import PYTHONS

from runctl.core.errors import UsageError
from runctl.engine import packs
from runctl.engine.boot import LIMIT, user_data
from runctl.engine.bundle import bundle
from runctl.engine.compression import ZLIB, Pace
from runctl.engine.tree_object import Block, TreeObject, encode
from runctl.sandbox.s3.standalone import ACCESS_KEY, SECRET_KEY

ACCESS = {"kind": "s3", "bucket": "bucket", "prefix": "team", "region": "us-east-1"}


def script(**more: Any) -> str:
    given = {"run": "brave-otter-7k2m", "attempt": 1, "lease_seconds": 1790, "release": "terminate", **more}
    return user_data(ACCESS, **given).decode("ascii")


def inner(text: str) -> str:
    """The program that rides along."""
    found = re.search(r'b85decode\("([^"]+)"\)', text)
    assert found
    return zlib.decompress(base64.b85decode(found[1])).decode()


def test_it_fits_and_arms_the_deadline_before_anything_else() -> None:
    longest = "x" * 120
    text = user_data(
        {**ACCESS, "bucket": "b" * 63, "prefix": "p" * 200},
        run=longest,
        attempt=100,
        lease_seconds=1790,
        release="terminate",
    )
    assert len(text) < LIMIT - 1000  # with the longest names there can be
    lines = [line for line in text.decode().splitlines() if not line.startswith(("#", "export"))]
    assert lines[0].startswith("shutdown -h +30 ")


@pytest.mark.parametrize("release", ["terminate", "keep"])
def test_every_shell_understands_it(release: str, tmp_path: Path) -> None:
    (tmp_path / "user-data").write_text(script(release=release))
    for shell in ("sh", "bash"):
        done = subprocess.run([shell, "-n", str(tmp_path / "user-data")], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


def test_it_is_the_same_for_the_same_words_and_names_the_agent_by_its_digest() -> None:
    assert script() == script()
    assert bundle().digest in inner(script())


def test_a_store_that_only_this_computer_has_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        user_data({"kind": "directory", "path": "/x"}, run="r", attempt=1, lease_seconds=60, release="keep")
    assert refused.value.code == "boot-store"


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Box]:
    with s3_in(tmp_path / "s3") as box:
        box.client().create_bucket(Bucket="bucket")
        yield box


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.split("/")[-3])
def test_the_program_inside_becomes_the_agent_and_runs_what_the_store_says(
    python: str, s3: S3Box, box: AgentBox, tmp_path: Path
) -> None:
    client = s3.client()
    program = tmp_path / "bin/shutdown"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    env = {
        **box.env,
        "PATH": f"{program.parent}:{box.env['PATH']}",
        "AWS_ENDPOINT_URL": s3.server.url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    client.put_object(Bucket="bucket", Key=f"team/agent/{bundle().digest}.py", Body=bundle().source)
    source = b"import sys; print(sys.version_info[:2])"
    request = box.request("r1", source.decode())
    text = script(run="r1", release="keep", home=str(box.home))
    done = subprocess.run(
        [python, "-I", "-S", "-c", inner(text)],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert json.loads(done.stdout) == {"run": "r1", "keeping": True}, done.stderr
    assert "the agent is here after" in done.stderr
    inline = packs.block([source], Pace(ZLIB))
    whole = Block("", 0, len(inline), (hashlib.sha256(source).hexdigest(),))
    data = encode(TreeObject(request["tree_digest"], tuple(request.pop("tree")), (whole,), inline=inline))
    client.put_object(Bucket="bucket", Key=f"team/trees/{request['tree_digest']}", Body=data)
    client.put_object(Bucket="bucket", Key="team/runs/r1/1/request.json", Body=json.dumps(request).encode())
    status = box.folder("r1") / "status.json"
    until(lambda: status.exists() and box.status("r1")["state"] == "ended", "it ran")
    assert box.status("r1")["outcome"] == "succeeded"
    assert box.output("r1").startswith(b"(3, ")
    box.check_nothing_left()
