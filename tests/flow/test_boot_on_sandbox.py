"""A machine that begins its run by itself, from the store, keeps it there, and gives itself back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.bootbox import Cloud, cloud
from tests.unit.sandbox.instance_world import OBSTACLE, WHY

pytestmark = pytest.mark.skipif(bool(OBSTACLE), reason=WHY)


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud(tmp_path_factory.mktemp("boot")) as sky:
        sky.prepare()
        yield sky


def test_a_run_begins_by_itself_and_everything_stays_when_the_machine_is_gone(sky: Cloud) -> None:
    run = sky.run(
        "whole",
        "import os, time\n"
        "print('begun', flush=True)\n"
        "open(os.environ['RUNCTL_CHECKPOINT_DIR'] + '/step-1.npz', 'wb')\n"
        "time.sleep(1)\n"
        "print('over')",
    ).begin()
    run.says(b"begun")
    status = run.ended()
    assert (status["outcome"], status["exit_code"]) == ("succeeded", 0)
    run.gone()
    assert run.grown("output") == b"begun\nover\n"
