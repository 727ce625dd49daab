"""The place of the genuine agent: what it finds when it is started, shown by a program that takes its place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ssmbox import SsmBox, until

# Speaks to the gateway as the genuine agent does: over TLS, at the endpoint of the configuration beside the binary.
PROGRAM = """#!{python}
import asyncio, json, os, sys
from pathlib import Path
from runctl.sandbox.guest import aws
here = Path(sys.argv[0]).resolve().parent
endpoint = json.loads((here / "configuration" / "amazon-ssm-agent.json").read_text())["Mgs"]["Endpoint"]
async def main():
    identity = aws.Identity()
    await identity.learn()
    url = f"https://{{endpoint}}/v1/control-channel/{{identity.instance}}"
    answer = await identity.call("POST", url, service="ssmmessages", body=b"{{}}")
    (here / "answer").write_bytes(answer)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[SsmBox]:
    box = SsmBox(tmp_path / "box")
    try:
        yield box
    finally:
        box.close()


def test_another_agent_finds_its_configuration_and_tls(box: SsmBox, tmp_path: Path) -> None:
    binary = tmp_path / "bin" / "amazon-ssm-agent"
    binary.parent.mkdir()
    binary.write_text(PROGRAM.format(python=sys.executable))
    binary.chmod(0o755)
    (binary.parent / "ssm-agent-worker").write_text("beside it")
    home = tmp_path / "home"
    home.mkdir()
    instance = "i-0123456789abcdef0"
    box.ec2.add(instance)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), **box.environment(instance)}
    running = subprocess.Popen([sys.executable, "-m", "runctl.sandbox.guest.genuine", str(binary)], env=env)
    try:
        folder = home / ".ssm-agent" / "genuine"
        answer = until(lambda: (folder / "answer").exists() and (folder / "answer").read_text())
        assert f"<TokenValue>{box.ssm.agents.of(instance).token}</TokenValue>" in str(answer)
        told = json.loads((folder / "configuration" / "amazon-ssm-agent.json").read_text())
        assert told["Identity"] == {"ConsumptionOrder": ["EC2"]}
        assert (folder / "ssm-agent-worker").read_text() == "beside it"
        assert not (binary.parent / "configuration").exists(), "what the user gave stays as it was"
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(20)
