"""What OpenSSH says is translated by a table; what goes to the other side's shell is read by it as it was meant."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from runctl.core import ssh_address
from runctl.core.errors import UsageError
from runctl.core.ssh_address import SshAddress
from runctl.testing.transports import NASTY
from runctl.transports.ssh.shell import Command, line
from runctl.transports.ssh.words import translated

CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Offending ED25519 key in /home/me/.ssh/known_hosts:1
  remove with:
  ssh-keygen -f "/home/me/.ssh/known_hosts" -R "[127.0.0.1]:2222"
Host key for [127.0.0.1]:2222 has changed and you have requested strict checking.
Host key verification failed.
"""


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (CHANGED, "ssh-host-key-changed"),
        ("Host key verification failed.", "ssh-host-key-unknown"),
        (
            "No ED25519 host key is known for box and you have requested strict checking.",
            "ssh-host-key-unknown",
        ),
        ("me@box: Permission denied (publickey,password).", "ssh-denied"),
        ("Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures", "ssh-denied"),
        ("ssh: Could not resolve hostname box: Name or service not known", "ssh-name-unknown"),
        ("ssh: connect to host box port 22: Connection refused", "ssh-refused"),
        ("ssh: connect to host box port 22: Connection timed out", "ssh-timeout"),
        ("ssh: connect to host box port 22: No route to host", "ssh-timeout"),
        ("kex_exchange_identification: Connection closed by remote host", "ssh-closed"),
        ("Connection reset by 10.0.0.1 port 22", "ssh-closed"),
        ("/home/me/.ssh/config: line 3: Bad configuration option: usre", "ssh-failed"),
        ("", "ssh-failed"),
    ],
)
def test_what_ssh_says_has_a_code(said: str, code: str) -> None:
    error = translated(said, "box", "box", connected=False)
    assert error.code == code
    assert "?" not in "".join([error.what, error.why, *error.fix])


def test_after_a_command_began_any_end_is_a_link_that_broke() -> None:
    error = translated("client_loop: send disconnect: Broken pipe", "box", "box", connected=True)
    assert (error.code, error.transient) == ("ssh-cut", True)
    assert "Broken pipe" in error.why


def test_a_changed_key_says_by_which_name_it_is_known() -> None:
    error = translated(CHANGED, "box", "box", connected=False)
    assert "  ssh-keygen -R [127.0.0.1]:2222" in error.fix


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "zsh", "fish", "tcsh", "csh", "mksh", "ksh"])
def test_every_login_shell_hands_on_the_same_words(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    got = bytearray()
    words = [*NASTY, "!x", "!!", "a\\nb", "\\0101", "tab\there", "if", "%b", "a\n", "'\"'\"'"]
    command = Command(["printf", "%s\\0", *words], got.extend)
    done = subprocess.run([shell, "-c", command.line], capture_output=True, check=True)
    command.take(done.stdout)
    assert bytes(got).decode().split("\0")[:-1] == words
    assert command.ending(done.stderr) == (0, b"")


def test_what_a_start_up_file_prints_is_no_output() -> None:
    got = bytearray()
    command = Command(["echo", "mine"], got.extend)
    done = subprocess.run(["sh", "-c", f"echo welcome; {command.line}"], capture_output=True, check=True)
    for each in done.stdout:  # however it is cut
        command.take(bytes([each]))
    assert bytes(got) == b"mine\n"
    assert command.leader > 1


def test_stderr_is_handed_on_without_its_last_line() -> None:
    heard = bytearray()
    command = Command(["sh", "-c", "echo wrong >&2; printf runctl- >&2; exit 3"], on_errors=heard.extend)
    done = subprocess.run(["sh", "-c", command.line], capture_output=True, check=False)
    for each in done.stderr:  # however it is cut
        command.take_errors(bytes([each]))
    assert bytes(heard) == b"wrong\nrunctl-"
    assert command.ending(done.stderr) == (3, b"wrong\nrunctl-")


def test_an_end_that_was_not_said_is_none() -> None:
    command = Command(["true"])
    assert command.ending(b"half of it") == (None, b"half of it")


def test_a_line_is_plain_characters() -> None:
    assert all(" " <= each <= "~" for each in line("ü\n'!\\"))
    assert line("a'b!").count("'") == 4


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ssh://box", SshAddress("box")),
        ("ssh://me@box.example.org:2222/", SshAddress("box.example.org", "me", 2222)),
        ("me@10.0.0.1", SshAddress("10.0.0.1", "me")),
        ("ssh://me@[fe80::1%eth0]:22", SshAddress("fe80::1%eth0", "me", 22)),
        ("ssh://box?python=/opt/py/bin/python3&home=/data/me", SshAddress("box", python="/opt/py/bin/python3", home="/data/me")),
    ],
)  # fmt: skip
def test_addresses(text: str, found: SshAddress) -> None:
    assert ssh_address.parse(text) == found
    assert ssh_address.parse(found.url) == found


@pytest.mark.parametrize(
    "text",
    ["ssh://", "ssh://-oProxyCommand=id", "ssh://-o@box", "ssh://box -x", "ssh://box;id", "ssh://box:0", "ssh://box:70000",
     "ssh://me@", "ssh://box/path", "ssh://box?shell=sh", "ssh://$(id)", "ssh://a@b@c"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        ssh_address.parse(text)
    assert caught.value.code == "ssh-address"
