"""A client that is none of ours and not boto3: s5cmd, as a shell would run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.s3box import S3Box

from runctl.sandbox.s3.standalone import ACCESS_KEY, SECRET_KEY


@pytest.fixture
def s5cmd(s3box: S3Box) -> Any:
    program = shutil.which("s5cmd", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program, "s5cmd is a development dependency: uv sync installs it"
    env = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": "us-east-1",
        "S3_ENDPOINT_URL": s3box.server.url, "PATH": os.environ["PATH"],
    }  # fmt: skip

    def run(*args: str | Path) -> str:
        done = subprocess.run(
            [program, *map(str, args)], env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_s5cmd_copies_syncs_lists_and_removes(s5cmd: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    for n in range(40):
        (source / "deep" / f"f {n}+ü").write_bytes(os.urandom(n * 100))
    (source / "large").write_bytes(os.urandom(60 * 1024 * 1024 + 3))  # two parts for s5cmd
    s5cmd("mb", "s3://bucket")
    s5cmd("sync", f"{source}/", "s3://bucket/x/")
    assert len(s5cmd("ls", "s3://bucket/x/deep/*").splitlines()) == 40
    s5cmd("cp", "s3://bucket/x/*", f"{tmp_path}/back/")
    same = subprocess.run(
        ["diff", "-r", source, tmp_path / "back"], capture_output=True, text=True, check=False
    )
    assert (same.returncode, same.stdout) == (0, "")
    assert s5cmd("sync", f"{source}/", "s3://bucket/x/") == ""  # nothing has changed
    s5cmd("mv", "s3://bucket/x/large", "s3://bucket/y/large")
    assert s5cmd("du", "s3://bucket/y/*").split()[0] == str(60 * 1024 * 1024 + 3)
    s5cmd("rm", "s3://bucket/*")
    s5cmd("rb", "s3://bucket")
