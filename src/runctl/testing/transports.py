"""What every transport must do: subclass ``TransportSuite`` in a test module and say how to make one.

class TestLocal(TransportSuite):
    @pytest.fixture
    def transport(self): return LocalTransport(Endpoint("local"), surroundings())
    @pytest.fixture
    def there(self, tmp_path): return tmp_path  # a folder on the machine
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from runctl.core.cancel import CancelToken
from runctl.core.catalogue import known
from runctl.core.errors import Cancelled, UnreachableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runctl.core.ports import Transport

NASTY = (
    "",
    " ",
    "a b",
    "$HOME",
    "`id`",
    "$(id)",
    "'",
    '"',
    "\\",
    "a\nb",
    "*",
    ";",
    "&&",
    "ü",
    "-n",
    "--",
    "%s",
)


class TransportSuite:
    """Inherited tests; each takes the fixtures ``transport`` and ``there``."""

    def test_exit_codes_come_back(self, transport: Transport) -> None:
        """The command's own status, not the transport's."""
        for code in (0, 1, 7, 255):
            assert transport.exec(["sh", "-c", f"exit {code}"], cancel=CancelToken()).exit_code == code

    def test_arguments_arrive_as_they_are(self, transport: Transport) -> None:
        """Nothing between here and there reads them."""
        got = bytearray()
        argv = ["sh", "-c", 'for a in "$@"; do printf "%s\\0" "$a"; done', "sh", *NASTY]
        transport.exec(argv, on_output=got.extend, cancel=CancelToken())
        assert bytes(got).decode().split("\0")[:-1] == list(NASTY)

    def test_bytes_go_both_ways_unchanged(self, transport: Transport) -> None:
        """Every byte value, more than any pipe holds, both directions at once."""
        sent = bytes(range(256)) * 16 * 1024  # 4 MiB
        digest = hashlib.sha256()

        def chunks() -> Iterator[bytes]:
            for start in range(0, len(sent), 100_000):
                yield sent[start : start + 100_000]

        transport.exec(["cat"], stdin=chunks(), on_output=digest.update, cancel=CancelToken())
        assert digest.digest() == hashlib.sha256(sent).digest()

    def test_stderr_is_apart_and_its_end_is_kept(self, transport: Transport) -> None:
        """stdout carries data only; of a long stderr the end matters."""
        got = bytearray()
        done = transport.exec(
            [
                "sh",
                "-c",
                "echo data; i=0; while [ $i -lt 20000 ]; do echo noise >&2; i=$((i+1)); done; echo last >&2",
            ],
            on_output=got.extend,
            cancel=CancelToken(),
        )
        assert bytes(got) == b"data\n"
        assert done.stderr.endswith(b"last\n")
        assert len(done.stderr) <= 64 * 1024
        heard = bytearray()
        transport.exec(
            ["sh", "-c", "echo data; echo wrong >&2"], on_errors=heard.extend, cancel=CancelToken()
        )
        assert bytes(heard) == b"wrong\n"

    def test_output_arrives_while_the_command_runs(self, transport: Transport, there: Path) -> None:
        """The first line is here before the command has ended."""
        gate = there / "gate"
        seen = threading.Event()

        def on_output(chunk: bytes) -> None:
            if b"first" in chunk:
                gate.touch()
                seen.set()

        script = f"echo first; while [ ! -e '{gate}' ]; do sleep 0.01; done; echo second"
        transport.exec(["sh", "-c", script], on_output=on_output, cancel=CancelToken())
        assert seen.is_set()

    def test_the_input_may_wait_for_the_output(self, transport: Transport) -> None:
        """A conversation: each line is made of the answer to the one before."""
        heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()

        def lines() -> Iterator[bytes]:
            said = b"1"
            for _ in range(20):
                yield said + b"\n"
                said = heard.get(timeout=20).strip() + b"+"

        script = 'while read -r line; do echo "$line"; done'
        transport.exec(["sh", "-c", script], stdin=lines(), on_output=heard.put, cancel=CancelToken())
        assert heard.empty()

    def test_what_goes_wrong_with_the_input_is_raised(self, transport: Transport) -> None:
        """And the command is not left waiting for the rest."""

        def torn() -> Iterator[bytes]:
            yield b"some\n"
            raise known("file-changed", path="x")

        try:
            transport.exec(["cat"], stdin=torn(), cancel=CancelToken())
        except UsageError:
            return
        raise AssertionError("it has to be raised")

    def test_a_command_that_does_not_read_its_input_does_not_hang(self, transport: Transport) -> None:
        """A closed pipe is not an error of ours."""
        big = [b"x" * (1 << 20)] * 8
        assert transport.exec(["true"], stdin=big, cancel=CancelToken()).exit_code == 0

    def test_cancel_ends_the_command_there_and_the_wait_here(self, transport: Transport, there: Path) -> None:
        """Within two seconds, and nothing goes on running."""
        cancel, mark = CancelToken(), there / "mark"
        cancelled = []

        def cancel_once_it_runs() -> None:
            limit = time.monotonic() + 30
            while not mark.exists() and time.monotonic() < limit:
                time.sleep(0.02)
            cancelled.append(time.monotonic())
            cancel.cancel()

        threading.Thread(target=cancel_once_it_runs, daemon=True).start()
        try:
            transport.exec(["sh", "-c", f"while :; do date > '{mark}'; sleep 0.05; done"], cancel=cancel)
        except Cancelled:
            pass
        else:
            raise AssertionError("a cancelled command must raise Cancelled")
        assert time.monotonic() - cancelled[0] < 3
        deadline = time.monotonic() + 5
        before = None
        while before != (before := mark.stat().st_mtime_ns) and time.monotonic() < deadline:
            time.sleep(0.3)
        assert mark.stat().st_mtime_ns == before

    def test_a_token_that_is_set_already_starts_nothing(self, transport: Transport, there: Path) -> None:
        """No command, no side effect."""
        cancel = CancelToken()
        cancel.cancel()
        try:
            transport.exec(["touch", str(there / "started")], cancel=cancel)
        except Cancelled:
            pass
        else:
            raise AssertionError("must raise Cancelled")
        assert not (there / "started").exists()

    def test_a_missing_program_is_a_clear_failure(self, transport: Transport) -> None:
        """127 as a shell says it, or UnreachableError; never a traceback of another kind."""
        try:
            done = transport.exec(["no-such-program-anywhere"], cancel=CancelToken())
        except UnreachableError:
            return
        assert done.exit_code == 127

    def test_files_travel_whole(self, transport: Transport, there: Path, tmp_path: Path) -> None:
        """Byte for byte, odd names included, and no partial file stays."""
        source, target = tmp_path / "source", there / "a b'c"
        source.write_bytes(bytes(range(256)) * 5000)
        transport.put(source, PurePosixPath(str(target)), CancelToken())
        transport.get(PurePosixPath(str(target)), tmp_path / "back", CancelToken())
        assert (tmp_path / "back").read_bytes() == source.read_bytes()
        assert not [path for path in there.iterdir() if "partial" in path.name]
