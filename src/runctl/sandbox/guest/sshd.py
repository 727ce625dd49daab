"""Starts the system's sshd inside an instance: keys and settings come from the environment, then it becomes sshd.

Standard library only; run by path. `SSHD_PROGRAM`, `SSHD_PORT`, `SSHD_AUTHORIZED` (lines of authorized_keys),
`SSHD_HOST_KEY` (a private key) and `SSHD_SHOW` (names of variables that sessions get) are read.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_SETTINGS = """\
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PrintMotd no
AcceptEnv LANG LC_*
AllowTcpForwarding yes
Subsystem sftp internal-sftp
{more}
SetEnv {variables}
"""
# In a home that is not the one of the password file, a session must be led there. sftp starts from there by itself.
_LED_HOME = """\
Subsystem sftp {folder}/sftp
ForceCommand cd "$HOME" && if [ -n "$SSH_ORIGINAL_COMMAND" ]; then exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"; \
else exec "$SHELL" -l; fi
"""


def quoted(name: str, value: str) -> str:
    """One assignment of `SetEnv`; values that it cannot carry (quotes, line ends) are left out as empty."""
    return f'"{name}={value}"' if not re.search(r'["\n\\]', value) else f'"{name}="'


def unlock_root() -> None:
    """A locked password (`!`) makes sshd refuse keys too; this disk's own copy says `*`: no password."""
    shadow = Path("/etc/shadow")
    lines = shadow.read_text().splitlines(keepends=True)
    changed = [re.sub(r"^root:!+\*?", "root:*", line) for line in lines]
    if changed != lines:
        shadow.write_text("".join(changed))


def prepare(folder: Path, environ: dict[str, str]) -> Path:
    """Writes the keys and settings; the path of the settings. Raises OSError and KeyError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in (
        ("host_key", environ["SSHD_HOST_KEY"]),
        ("authorized_keys", environ["SSHD_AUTHORIZED"]),
    ):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(text.rstrip("\n") + "\n")
    shown = [name for name in environ.get("SSHD_SHOW", "").split() if name in environ]
    variables = " ".join(quoted(name, environ[name]) for name in shown) or '"RUNCTL_SANDBOX=1"'
    text = _SETTINGS.format(port=environ.get("SSHD_PORT", "22"), folder=folder, more="", variables=variables)
    if os.geteuid() != 0 or "SSHD_LED_HOME" in environ:
        text = text.replace("Subsystem sftp internal-sftp\n", "") + _LED_HOME.format(folder=folder)
        sftp = folder / "sftp"
        sftp.write_text(f'#!/bin/sh\ncd "$HOME" && exec {environ["SSHD_SFTP"]}\n')
        sftp.chmod(0o700)
        text += f"ListenAddress 127.0.0.1:{environ['SSHD_PORT']}\n"
    path = folder / "sshd_config"
    path.write_text(text)
    return path


def main() -> None:
    """Becomes sshd. Raises OSError."""
    environ = dict(os.environ)
    settings = prepare(Path(environ["HOME"]) / ".sandbox-sshd", environ)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd of root insists on it; its package makes it at boot
        if "SSHD_LED_HOME" not in environ:
            unlock_root()
    program = environ["SSHD_PROGRAM"]
    kept = {name: value for name, value in environ.items() if not name.startswith("SSHD_")}
    os.execve(program, [program, "-D", "-e", "-f", str(settings)], kept)  # noqa: S606 - an argv, no shell


if __name__ == "__main__":
    main()
