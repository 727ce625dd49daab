"""What can go wrong with stdout, told apart from everything else that raises ``OSError``."""

from __future__ import annotations

TYPE_CHECKING = False  # typing costs more than this module
if TYPE_CHECKING:
    from types import TracebackType


class StdoutFailed(OSError):
    """stdout cannot take what is written to it: a full disk, a file system that failed."""


class to_stdout:  # noqa: N801 - reads as a statement: with to_stdout()
    """What fails in the block failed on stdout: ``StdoutFailed``; a reader that left stays ``BrokenPipeError``."""

    def __enter__(self) -> None:
        """Nothing yet."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise StdoutFailed(error.errno, error.strerror) from error
