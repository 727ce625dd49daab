"""The one way a command of the agent fails: a code of the client's catalogue and its facts."""

from __future__ import annotations

from runctl.s3.failure import KnownFailure as AgentFailure

__all__ = ["AgentFailure", "disk_failure"]


def disk_failure(error: BaseException, path: str) -> AgentFailure | None:
    """What an operating system error says about the machine's disk, or None when it is about something else."""
    import errno  # noqa: PLC0415 - as traceback

    if not isinstance(error, OSError):
        return None
    where = error.filename if isinstance(error.filename, str) else path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        from runctl.agent.home import free_bytes  # noqa: PLC0415

        return AgentFailure("disk-full", path=path, free_bytes=free_bytes(path))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG):
        return AgentFailure("machine-home-not-writable", path=where, detail=error.strerror or str(error))
    return None
