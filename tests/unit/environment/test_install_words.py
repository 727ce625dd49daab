"""The pure parts: versions, masks, pip's settings, and what installers' words mean."""

from __future__ import annotations

import os
import random
import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runctl.agent import env_recipe, gate_installed, pip_settings, pythons
from runctl.agent.failure import AgentFailure
from runctl.agent.install_errors import classify
from runctl.agent.install_process import Lines
from runctl.agent.install_progress import Progress
from runctl.agent.masking import mask
from runctl.core.catalogue import CATALOGUE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("version", "specifier", "fits"),
    [
        ((3, 11, 7), None, True),
        ((3, 11, 7), ">=3.9", True),
        ((3, 11, 7), ">=3.11,<3.14", True),
        ((3, 11, 7), ">= 3.11.8", False),
        ((3, 11, 7), "==3.11.*", True),
        ((3, 11, 7), "!=3.11.*", False),
        ((3, 11, 7), "==3.11", False),
        ((3, 11, 0), "==3.11", True),
        ((3, 11, 7), "~=3.9", True),
        ((3, 11, 7), "~=3.9.1", False),
        ((3, 11, 7), "<4,>3", True),
        ((3, 13, 0), "<3.14a0", True),
        ((3, 11, 7), "<=3.11", False),
    ],
)
def test_versions(version: tuple[int, ...], specifier: str | None, fits: bool) -> None:
    assert pythons.satisfies(version, specifier) is fits


@pytest.mark.parametrize("specifier", ["3.11", "three", ">=3.x", "^3.9"])
def test_a_specifier_nobody_can_read(specifier: str) -> None:
    with pytest.raises(AgentFailure) as caught:
        pythons.choose(specifier)
    assert caught.value.code == "requires-python-invalid"
    assert caught.value.code in CATALOGUE


def test_an_environment_hangs_on_a_base_python_not_on_another_environment() -> None:
    found = pythons.choose(None)
    assert not os.path.exists(os.path.join(os.path.dirname(os.path.dirname(found.path)), "pyvenv.cfg"))


def test_the_key_names_all_that_decides_and_not_the_installer() -> None:
    python = pythons.Interpreter("/usr/bin/python3", (3, 11, 7), "cpython")
    request = {"kind": "requirements", "digest": "d", "installer": "uv"}
    key = env_recipe.env_key(request, python)
    assert len(key) == 32
    assert env_recipe.env_key({**request, "installer": "pip"}, python) == key
    assert env_recipe.env_key(request, python._replace(path="/opt/python3")) == key
    others = [
        env_recipe.env_key({**request, "digest": "e"}, python),
        env_recipe.env_key({**request, "kind": "script"}, python),
        env_recipe.env_key(request, python._replace(version=(3, 11, 8))),
        env_recipe.env_key(request, python._replace(implementation="pypy")),
    ]
    assert len({key, *others}) == 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no url: a@b", "no url: a@b"),
        ("at https://u:p%40ss@h/simple", "at https://***@h/simple"),
        ("https://token@h/x git+ssh://git@h/y", "https://***@h/x git+ssh://***@h/y"),
        ("https://h/x?a=1&api_token=abc&b=2", "https://h/x?a=1&api_token=***&b=2"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer ***"),
    ],
)
def test_masks(text: str, shown: str) -> None:
    assert mask(text) == shown


@given(
    st.text(string.ascii_letters + string.digits + "-._~%!$&'()*+,;=:", min_size=3).filter(
        lambda t: "'" not in t
    )
)
def test_no_password_of_a_url_survives(password: str) -> None:
    secret = "".join(random.Random(0).sample(string.ascii_lowercase, 12)) + password
    assert secret not in mask(f"Looking in indexes: https://user:{secret}@host.example/simple/ again")


def test_pip_settings_in_uv_words(tmp_path: Path) -> None:
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    (tmp_path / ".config" / "pip" / "pip.conf").write_text(
        "[global]\nindex-url = https://a/simple\nextra_index_url =\n    https://b/simple\n    https://c/simple\n"
        "find-links = /w1 /w2\ncert = /ca.pem\n[install]\nno-index = false\n[freeze]\ntimeout = 3\n"
    )
    env = {"HOME": str(tmp_path), "PIP_FIND_LINKS": "/w3 /w4", "XDG_CONFIG_DIRS": str(tmp_path / "none")}
    assert pip_settings.for_uv(env, prefix=str(tmp_path)) | {"UV_CONSTRAINT": ""} == {
        "UV_DEFAULT_INDEX": "https://a/simple",
        "UV_EXTRA_INDEX_URL": "https://b/simple https://c/simple",
        "UV_FIND_LINKS": "/w3,/w4",
        "SSL_CERT_FILE": "/ca.pem",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_CONSTRAINT": "",
    }
    decided = {**env, "UV_DEFAULT_INDEX": "https://mine", "UV_INDEX_STRATEGY": "first-index"}
    found = pip_settings.for_uv(decided, prefix=str(tmp_path))
    assert "UV_DEFAULT_INDEX" not in found
    assert "UV_INDEX_STRATEGY" not in found
    (tmp_path / ".config" / "uv").mkdir()
    (tmp_path / ".config" / "uv" / "uv.toml").write_text('[[index]]\nurl = "https://u"\n')
    assert pip_settings.for_uv(env, prefix=str(tmp_path)) == {"SSL_CERT_FILE": "/ca.pem"}
    assert (
        pip_settings.for_uv({**env, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}, prefix=str(tmp_path))
        == {}
    )


def feed(text: bytes, *sizes: int) -> list[tuple[str, bool]]:
    lines, out, at = Lines(), [], 0
    for size in sizes:
        out += lines.feed(text[at : at + size])
        at += size
    return out + lines.feed(text[at:]) + lines.close()


@given(st.lists(st.integers(1, 9), max_size=12))
def test_lines_are_the_same_however_the_bytes_arrive(sizes: list[int]) -> None:
    text = "one\r\n\x1b[2K⠙ spin\r\x1b[2Ktwo\x1b[1m!\x1b[0m\n\nlast".encode()
    assert feed(text, *sizes) == [("one", True), ("⠙ spin", False), ("two!", True), ("last", True)]


def test_progress_of_uv() -> None:
    progress = Progress()
    progress.read_uv("⠙ scikit-learn==1.9.1", stays=False)
    assert progress.event() == {
        "done": 0,
        "total": None,
        "unit": "packages",
        "item": "resolving scikit-learn==1.9.1",
    }
    progress.read_uv("Resolved 7 packages in 126ms", stays=True)
    bars = (
        "numpy      ------------------------------ 1.00 MiB/16.00 MiB      scipy   ----- 512.00 KiB/32.00 MiB"
    )
    assert progress.read_uv(bars, stays=False)
    assert not progress.read_uv(bars, stays=False)
    mib = 1 << 20
    event = progress.event()
    assert (event["done"], event["total"], event["unit"]) == (mib + mib // 2, 48 * mib, "bytes")
    assert event["item"] == "downloading numpy, scipy"
    progress.read_uv("scipy   ----- 1.00 MiB/32.00 MiB", stays=False)  # the other bar is gone: complete
    assert progress.event()["done"] == 17 * mib
    progress.read_uv("Prepared 7 packages in 1s", stays=True)
    progress.read_uv("█████░░░ [4/7] joblib==1.6.0", stays=False)
    assert progress.event() == {"done": 4, "total": 7, "unit": "packages", "item": "installing joblib==1.6.0"}
    progress.read_uv("Installed 7 packages in 36ms", stays=True)
    assert progress.event() == {"done": 7, "total": 7, "unit": "packages", "item": "done"}


def test_progress_of_pip_in_all_its_ways() -> None:
    raw, drawn = Progress(), Progress()
    for progress in (raw, drawn):
        progress.read_pip("Collecting torch>=2", stays=True)
        progress.read_pip("  Downloading torch-2.0-cp311.whl.metadata (27 kB)", stays=True)
        assert progress.event() == {"done": 1, "total": None, "unit": "packages", "item": "resolving torch"}
        progress.read_pip("Downloading https://h/torch-2.0-cp311.whl (180.0 MB)", stays=True)
    raw.read_pip("Progress 90000000 of 180000000", stays=True)
    drawn.read_pip("   ━━━━━━ 90.0/180.0 MB 50 MB/s eta 0:00:03", stays=False)
    for progress in (raw, drawn):
        assert progress.event()["done"] == 90_000_000
        assert progress.event()["total"] == 180_000_000
        assert progress.cut
        progress.read_pip("Installing collected packages: a, b, torch", stays=True)
        progress.counted(2)
        assert progress.event() == {"done": 2, "total": 3, "unit": "packages", "item": "installing"}
        progress.read_pip("Successfully installed a-1 b-1 torch-2.0", stays=True)
        assert progress.event() == {"done": 3, "total": 3, "unit": "packages", "item": "done"}


NO_SOLUTION = "  \u00d7 No solution found when resolving dependencies:\n  ╰─▶ "  # as uv said it until 0.12
NO_BUILD = (
    "  \u00d7 Failed to build `flux==1.0`\n  ├─▶ The build backend returned an error\n  ╰─▶ exit status: 1"
)


@pytest.mark.parametrize(
    ("text", "code", "package", "transient"),
    [
        (NO_SOLUTION + "Because a depends on b<1 and\n      you require b>=1, we can conclude", "resolution-impossible", "", False),
        (NO_SOLUTION + "Because nosuch was not found in the package registry", "package-not-found", "nosuch", False),
        (NO_BUILD, "build-failed", "flux==1.0", False),
        ("error: Failed to install: big-1.0.whl\n  cause: failed to write: No space left on device (os error 28)", "disk-full",
         "", False),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk-full", "", False),
        ("error: Request failed after 3 retries\n  cause: dns error", "index-unreachable", "", True),
        ("error: Failed to fetch: `https://h/simple/a/`\n  cause: HTTP status client error (401 Unauthorized) for url",
         "index-unreachable", "", False),
        ("error: Failed to fetch\n  cause: invalid peer certificate: UnknownIssuer", "index-unreachable", "", False),
        ("ERROR: Package 'a' requires a different Python: 3.9.1 not in '>=3.10'", "python-unsuitable", "", False),
        ("ERROR: Failed building wheel for flux\nERROR: Could not build wheels for flux", "build-failed", "flux", False),
        ("something odd\nthe end", "install-failed", "", False),
        ('ERROR: Exception:\nTraceback (most recent call last):\n  File "x"\nReadTimeoutError: Read timed out.',
         "index-unreachable", "", True),
    ],
)  # fmt: skip
def test_verdicts_over_last_words(text: str, code: str, package: str, transient: bool) -> None:
    verdict = classify(["Using Python 3.11", *text.splitlines()])
    assert (verdict.code, verdict.package, verdict.transient) == (code, package, transient), verdict
    assert verdict.code in CATALOGUE
    assert 1 <= len(verdict.reason.splitlines()) <= 8
    assert "Traceback" not in verdict.reason


def test_pips_own_log_tells_a_missing_package_from_a_silent_index() -> None:
    lines = ["ERROR: Could not find a version that satisfies the requirement a (from versions: none)"]
    assert classify(
        lines, skipped=["Could not fetch URL http://h/a/: 404 Client Error: Not Found - skipping"]
    ).code == ("package-not-found")
    down = classify(lines, skipped=["Could not fetch URL http://h/a/: 503 Server Error: busy - skipping"])
    assert (down.code, down.transient) == ("index-unreachable", True)
    assert "503" in down.reason


@given(st.lists(st.text(max_size=40), max_size=30))
def test_any_words_get_a_verdict(lines: list[str]) -> None:
    verdict = classify(lines)
    assert verdict.code in CATALOGUE
    assert len(verdict.reason.split("\n")) <= 8 or any("\n" in line for line in lines)


@pytest.mark.parametrize(
    ("marker", "applies"),
    [
        ("", True),
        ("extra == 'all'", False),
        ('sys_platform == "win32"', False),
        ('python_version >= "3.8" and sys_platform != "win32"', True),
        ('python_version < "3.10" and python_version >= "3.10"', False),
        ('(platform_system == "Linux" or os_name == "nt") and extra == "x"', False),
        ('"bsd" in sys_platform', False),
        ('python_version not in "2.7, 3.0"', True),
        ("what is this", True),
        ("__import__('os').getcwd()", True),
    ],
)
def test_markers(marker: str, applies: bool) -> None:
    assert gate_installed.applies(marker) is applies
