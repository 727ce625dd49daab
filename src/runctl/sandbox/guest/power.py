"""`shutdown`, `poweroff`, `halt` and `reboot` inside an instance: the name it is called by says which.

Standard library only. `shutdown` knows `-h -P -H -r -c now +MINUTES HH:MM`; the others act at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time

SCHEDULE = "/run/runctl/shutdown.json"


def seconds_until(when: str, now: float) -> float:
    """How long until what `shutdown` was given: `now`, `+MINUTES` or `HH:MM`. Raises ValueError."""
    if when == "now":
        return 0.0
    if ":" not in when:
        return 60.0 * int(when.removeprefix("+"))
    hour, minute = (int(part) for part in when.split(":"))
    today = time.localtime(now)
    at = time.mktime((today.tm_year, today.tm_mon, today.tm_mday, hour, minute, 0, 0, 0, -1))
    return (at if at > now else at + 86400) - now


def plan(name: str, arguments: list[str], now: float) -> dict[str, object] | None:
    """What is to happen: `{"at": seconds since 1970, "kind": ...}`, or None to cancel. Raises ValueError."""
    if name != "shutdown":
        return {"at": now, "kind": name}
    flags = "".join(
        word[1:] if not word.startswith("--") else word[2] for word in arguments if word[0] == "-"
    )
    if "c" in flags:
        return None
    words = [word for word in arguments if word[0] != "-"]
    return {
        "at": now + seconds_until(words[0] if words else "+1", now),
        "kind": "reboot" if "r" in flags else "poweroff",
    }


def main() -> int:
    """Writes the plan and wakes PID 1; the exit status."""
    try:
        decided = plan(os.path.basename(sys.argv[0]), [word for word in sys.argv[1:] if word], time.time())
    except ValueError:
        sys.stderr.write("usage: shutdown [-h|-r|-c] [now|+MINUTES|HH:MM]\n")
        return 1
    if decided is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SCHEDULE)
    else:
        with open(SCHEDULE + ".new", "w") as file:
            json.dump(decided, file)
        os.replace(SCHEDULE + ".new", SCHEDULE)
    os.kill(1, signal.SIGUSR1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
