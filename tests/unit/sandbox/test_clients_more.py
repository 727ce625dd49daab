"""Further clients that are none of ours against a sandbox: rclone, RunPod's own SDK, OpenSSH, a session client."""

from __future__ import annotations

import json
import shutil
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from tests.unit.sandbox.client_world import NEEDED, PLACE, client, environment, same, tree
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox, until

from runctl.sandbox import sshd

pytestmark = NEEDED
SSH = pytest.mark.skipif(
    not sshd.available() or shutil.which("ssh") is None, reason="no sshd here: apt-get install openssh-server"
)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("more")) as box:
        yield box


def test_rclone_syncs_checks_lists_and_links(box: SandboxBox, tmp_path: Path) -> None:
    def rclone(*words: str | Path, code: int = 0) -> str:
        return client(box, "rclone", *words, code=code, RCLONE_CONFIG="").stdout

    source, remote = tree(tmp_path / "source"), ":s3,env_auth,provider=Other:trees"
    parts = ("--s3-upload-cutoff", "5Mi", "--s3-chunk-size", "5Mi")
    rclone("mkdir", remote)
    rclone("sync", source, f"{remote}/t", *parts)
    rclone("check", source, f"{remote}/t")
    assert rclone("check", "--combined", "-", source, f"{remote}/t").count("= ") == 7
    sizes = dict(
        line.split(";")
        for line in rclone("lsf", "-R", "--files-only", "--format", "ps", f"{remote}/t").splitlines()
    )
    here = {
        str(path.relative_to(source)): str(path.stat().st_size)
        for path in source.rglob("*")
        if path.is_file()
    }
    assert sizes == here
    (source / "deep" / "plain").write_text("changed")
    (source / "deep" / "empty").unlink()
    rclone("check", source, f"{remote}/t", code=1)
    rclone("sync", source, f"{remote}/t")
    rclone("sync", f"{remote}/t", tmp_path / "back")
    assert same(source, tmp_path / "back")
    rclone("moveto", f"{remote}/t/big", f"{remote}/moved")
    with urllib.request.urlopen(rclone("link", "--expire", "1h", f"{remote}/moved").strip()) as answer:
        assert answer.read() == (source / "big").read_bytes()
    rclone("purge", remote)
    assert box.client("s3").list_buckets()["Buckets"] == []


POD = """
    import json, os, subprocess, sys, time, runpod
    from runpod.error import QueryError

    runpod.api_key = os.environ["RUNPOD_API_KEY"]

    def running(pod):
        for _ in range(400):
            if (found := runpod.get_pod(pod)) and found["runtime"]:
                return next(each for each in found["runtime"]["ports"] if each["privatePort"] == 22)
            time.sleep(0.05)
        sys.exit(f"{pod} did not start")

    def ssh(port, command):
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes", "LogLevel=ERROR")
        words = [word for option in options for word in ("-o", option)]
        to = ["-i", sys.argv[1], "-p", str(port["publicPort"]), f"root@{port['ip']}", command]
        return subprocess.run(["ssh", *words, *to], capture_output=True, text=True, check=True, timeout=30).stdout

    said = {}
    runpod.update_user_settings(open(sys.argv[1] + ".pub").read())
    said["gpu"] = runpod.get_gpu("NVIDIA A40")["memoryInGb"]
    pod = runpod.create_pod("one", "any/image", "NVIDIA A40", volume_in_gb=1, volume_mount_path="/workspace",
                            ports="22/tcp", env={"WORD": "two words"})["id"]
    port = running(pod)
    said["shell"] = ssh(port, "echo $WORD; echo kept > /workspace/a; echo lost > /root/b")
    said["listed"] = [each["name"] for each in runpod.get_pods()]
    said["stopped"] = runpod.stop_pod(pod)["desiredStatus"]
    said["without"] = runpod.get_pod(pod)["runtime"]
    runpod.resume_pod(pod, gpu_count=1)
    said["again"] = ssh(running(pod), "cat /workspace/a; test -e /root/b || echo gone")
    runpod.terminate_pod(pod)
    said["after"] = runpod.get_pods()
    try:
        runpod.stop_pod(pod)
    except QueryError as error:
        said["refused"] = str(error)
    print(json.dumps(said))
"""


@SSH
def test_the_runpod_sdk_makes_stops_resumes_and_ends_a_pod_that_ssh_enters(
    box: SandboxBox, tmp_path: Path
) -> None:
    if json.loads(box.runctl("status", "--json").stdout)[0]["weaker"]:
        pytest.skip("a plain pod keeps its whole disk over a stop")
    key = tmp_path / "key"
    client(box, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    done = client(box, PLACE / "bin" / "python", "-c", textwrap.dedent(POD), key)
    said = json.loads(done.stdout.splitlines()[-1])
    assert said.pop("refused").endswith("not found")
    assert said == {
        "gpu": 48, "shell": "two words\n", "listed": ["one"], "stopped": "EXITED", "without": None,
        "again": "kept\ngone\n", "after": [],
    }  # fmt: skip


@SSH
def test_openssh_runs_copies_and_forwards_on_an_ssh_host(box: SandboxBox, tmp_path: Path) -> None:
    line = box.runctl("ssh-host", "box").stdout.split()
    assert (line[:2], line[-1]) == (["ssh", "-F"], "box")
    assert box.runctl("ssh-host", "box").stdout.split() == line  # once more does no harm
    config = line[2]
    assert client(box, *line, "cat; exit 7", stdin="in\n", code=7).stdout == "in\n"
    sent = tree(tmp_path / "sent")
    client(box, "scp", "-q", "-r", "-F", config, sent, "box:tree")
    client(box, "scp", "-q", "-r", "-F", config, "box:tree", tmp_path / "back")
    assert same(sent, tmp_path / "back")
    batch = client(box, "sftp", "-q", "-F", config, "-b", "-", "box", stdin="ls -1 tree/deep\n").stdout
    assert "tree/deep/with space" in batch
    box.runctl("ssh-host", "box", "--remove")
    client(box, *line, "true", code=255)


def test_a_session_client_runs_a_command_and_a_terminal(box: SandboxBox) -> None:
    [instance] = box.launch(IamInstanceProfile=box.role())
    until(lambda: box.client("ssm").describe_instance_information()["InstanceInformationList"])
    done = client(
        box, "pyssm", "exec", "--target", instance, "--command", "echo out; echo err >&2; exit 3", code=3
    )
    assert done.stdout == "out\nerr\n"  # it types the command into the standard shell, a terminal
    argv = ["ssh", "--target", instance]
    with pexpect.spawn(str(PLACE / "bin" / "pyssm"), argv, env=environment(box), timeout=30) as shell:
        shell.expect("[#$] ")
        shell.sendline("until stty size | grep 24.80; do sleep 0.1; done; echo $((6 * 7))")
        shell.expect(r"24 80\s+42")
        shell.sendline("sleep 100; echo status $?")
        shell.sendintr()
        shell.expect(r"[#$] ")
        shell.sendline("exit")
        shell.expect(pexpect.EOF)
