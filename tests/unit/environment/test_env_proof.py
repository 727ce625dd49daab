"""What is tried after a restore works by itself, in the order in which it is tried."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.unit.environment.wheel_index import wheel

from runctl.agent import env_proof

BRINGS = "import os, sys\nsys.path.append(os.path.join(os.path.dirname(__file__), '_vendor'))\n"


def test_what_a_package_brings_along_for_itself_is_not_tried(tmp_path: Path) -> None:
    """As setuptools does: a folder of packages that can be imported only once it was imported itself."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    python = str(tmp_path / "env/bin/python")
    vendored = {
        "aaa/__init__.py": BRINGS,
        "aaa/_vendor/late/__init__.py": "",
        "aaa/_vendor/late-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: late\nVersion: 1.0\n",
        "aaa/_vendor/late-1.0.dist-info/RECORD": "late/__init__.py,,\nlate-1.0.dist-info/METADATA,,\n",
    }
    needs = {"bbb/__init__.py": "import sys\nassert 'aaa' in sys.modules\n"}
    for name, data in (wheel("aaa", files={**vendored}), wheel("bbb", files={**needs})):
        (tmp_path / name).write_bytes(data)
    wheels = sorted(str(each) for each in tmp_path.glob("*.whl"))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", *wheels]
    subprocess.run(install, check=True)
    checks = env_proof.learn(python)
    assert ["import", "aaa"] in checks
    assert ["import", "late"] not in checks
    version = sys.version_info[:3]
    assert env_proof.prove(python, str(tmp_path / "env"), tuple(version), checks) == ""
