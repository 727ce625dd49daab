"""What a run needs of stores besides its code: data and a checkpoint to start from, a place for what it leaves."""

from __future__ import annotations

import os

from runctl.agent.home import make_folder
from runctl.agent.prepare import Step
from runctl.s3.patience import Patience

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runctl.agent.home import Home, RunFolder
    from runctl.agent.journal import Journal


class Inputs:
    """The inputs of one run."""

    def __init__(
        self,
        request: dict[str, Any],
        *,
        run: RunFolder,
        home: Home,
        journal: Journal,
        cancelled: Callable[[], bool],
    ) -> None:
        self._request, self._run, self._home, self._journal = request, run, home, journal
        self._cancelled = cancelled
        self._patience = Patience(stopped=cancelled)

    def bring(self) -> dict[str, str]:
        """Fetch them; the variables that tell the script where they are.

        Raises:
            AgentFailure: what the stores say.
            Stopped: ``cancelled`` said so.
        """
        self._ask_output()
        variables = {}
        resume = self._request.get("resume_from")
        if isinstance(resume, dict):
            variables["RUNCTL_RESUME_PATH"] = self._checkpoint(resume["store"])
        if self._request.get("data"):
            variables["RUNCTL_DATA_DIR"] = self._run.data
            make_folder(self._run.data)
            for each in self._request["data"]:
                self._data(each["from"], each["to"])
        return variables

    def _ask_output(self) -> None:
        if not self._request.get("output"):
            return
        from runctl.agent import output_copy  # noqa: PLC0415 - few runs want it

        address = output_copy.wanted(self._request)
        if address:
            output_copy.check(address, cancelled=self._cancelled)

    def _checkpoint(self, address: str) -> str:
        from runctl.agent import resume  # noqa: PLC0415 - compiled when there is something to resume from
        from runctl.agent.store import open_store  # noqa: PLC0415

        with Step(self._journal, "checkpoint", "fetch the checkpoint to resume from") as step:
            store = open_store(self._request["store"], patience=self._patience)
            try:
                path = resume.bring(
                    address,
                    store,
                    self._run.resume,
                    lambda done, total: step.progress(done, total, unit="bytes"),
                )
            finally:
                store.close()
            step.summary = address.rpartition("/")[2]
        return path

    def _data(self, url: str, name: str) -> None:
        from runctl.agent import data  # noqa: PLC0415 - compiled when there is data to fetch

        with Step(self._journal, "data", "fetch %s" % url) as step:
            folder = data.bring(
                url,
                self._request.get("store") or {},
                home=self._home,
                patience=self._patience,
                progress=lambda done, total: step.progress(done, total, name, unit="bytes"),
            )
            os.symlink(folder, os.path.join(self._run.data, name))
