"""`runctl.train` in the cells of real notebooks, run by a real Jupyter kernel."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import World

EXAMPLE = Path(__file__).parents[2] / "examples" / "notebook"
EXECUTE = """
import sys, nbclient, nbformat
path = sys.argv[1]
notebook = nbformat.read(path, 4)
client = nbclient.NotebookClient(notebook, timeout=100, allow_errors=True, resources={"metadata": {"path": "."}})
client.execute()
nbformat.write(notebook, path)
"""


def executed(world: World, folder: Path, name: str) -> list[list[dict[str, Any]]]:
    """The outputs of each code cell."""
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, name],
        cwd=folder,
        env=world.env,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads((folder / name).read_text())["cells"]
    return [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]


def notebook(folder: Path, *cells: str) -> str:
    """A notebook of these cells; its name."""
    made: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"c{n}",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "source": text,
        }
        for n, text in enumerate(cells)
    ]
    spec = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    (folder / "book.ipynb").write_text(
        json.dumps({"cells": made, "metadata": spec, "nbformat": 4, "nbformat_minor": 5})
    )
    return "book.ipynb"


def text(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def kinds(outputs: list[dict[str, Any]]) -> list[str]:
    return [each["output_type"] for each in outputs]


def test_the_example_runs_and_shows_what_it_promises(world: World) -> None:
    folder = world.root / "notebook"
    shutil.copytree(EXAMPLE, folder)
    cells = executed(world, folder, "training.ipynb")
    assert not [each for outputs in cells for each in outputs if each["output_type"] == "error"]
    assert not [each for outputs in cells for each in outputs if each.get("name") == "stderr"]
    _, plan, train, run, pulled, live, failed, runs = cells
    assert "Plan for" in text(plan[0]["data"]["text/html"])
    panels = [each for each in train if each["output_type"] == "display_data"]
    (panel,) = panels
    html, plain = text(panel["data"]["text/html"]), text(panel["data"]["text/plain"])
    assert "start the script" in html
    assert "hand over to the machine" in html
    assert html.count("<tr>") == plain.count("✓") + plain.count("○") - plain.count("✓ succeeded")
    assert "✓ succeeded" in plain
    printed = "".join(text(each["text"]) for each in train if each["output_type"] == "stream")
    assert [line.split()[:2] for line in printed.splitlines()] == [["epoch", str(n)] for n in range(1, 6)]
    assert "succeeded" in text(run[0]["data"]["text/html"])
    assert "'epoch': 5" in text(pulled[-1]["data"]["text/plain"])
    assert len(json.loads(text(live[-1]["data"]["text/plain"]))) == 5
    assert "script-failed exit status 2" in text(failed[0]["text"])
    assert "invalid int value" in text(failed[0]["text"])
    assert text(runs[0]["data"]["text/html"]).count("train.py") == 3


def test_an_error_and_odd_output_in_a_cell(world: World) -> None:
    project = world.project(
        {
            ".runctl.toml": "",
            "train.py": "import sys\nprint('<b>ü</b>')\nsys.stdout.flush()\nsys.stdout.buffer.write(b'\\xff\\n')\nsys.exit(3)",
        }
    )
    name = notebook(project, "import runctl\nrunctl.train('train.py')", "runctl.run()")
    failed, page = executed(world, project, name)
    printed = "".join(text(each["text"]) for each in failed if each["output_type"] == "stream")
    assert printed == "<b>ü</b>\n�\n"
    (error,) = [each for each in failed if each["output_type"] == "error"]
    assert error["ename"] == "ScriptFailed"
    assert "runctl logs" in "".join(error["traceback"])
    (panel,) = [each for each in failed if each["output_type"] == "display_data"]
    assert "✗ failed" in text(panel["data"]["text/plain"])
    assert "failed, exit 3" in text(page[0]["data"]["text/html"])


def test_an_interrupted_cell_leaves_the_run_alone(world: World) -> None:
    project = world.project(
        {
            ".runctl.toml": "",
            "train.py": "import os, time\nprint('begun')\nwhile not os.path.exists('GO'): time.sleep(0.05)",
        }
    )
    (project / "train.py").write_text((project / "train.py").read_text().replace("GO", str(project / "go")))
    interrupt = (
        "import os, signal, threading, runctl\n"
        "run = runctl.train('train.py', wait=False)\n"
        "def stop():\n"
        "    for event in run.events():\n"
        "        if isinstance(event, runctl.events.Output):\n"
        "            break\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=stop).start()\n"
        "run.wait()"
    )
    name = notebook(
        project, interrupt, "print(run.status)", "open('go', 'w').close()\nrun.wait(quiet=True).outcome.value"
    )
    stopped, status, ended = executed(world, project, name)
    assert stopped[-1]["ename"] == "KeyboardInterrupt"
    (panel,) = [each for each in stopped if each["output_type"] == "display_data"]
    assert "goes on on" in text(panel["data"]["text/plain"])
    assert "runctl attach" in text(panel["data"]["text/html"])
    assert text(status[0]["text"]) == "running\n"
    assert text(ended[-1]["data"]["text/plain"]) == "'succeeded'"


def test_nobody_is_asked_in_a_notebook_that_is_executed(world: World) -> None:
    project = world.project({".runctl.toml": "", "train.py": "print(1)"})
    code = "from runctl.python.show import agreed\nagreed('Buy it?')"
    (outputs,) = executed(world, project, notebook(project, code))
    assert outputs[-1]["output_type"] == "error"
    assert "confirmation-needed" in outputs[-1]["evalue"] or outputs[-1]["ename"] == "UsageError"


def test_the_typed_example_runs(world: World) -> None:
    folder = world.root / "notebook"
    shutil.copytree(EXAMPLE, folder)
    done = subprocess.run(
        [sys.executable, "train_and_compare.py", "train.py", "0.1", "0.4"],
        cwd=folder,
        env=world.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "best: " in done.stdout
    assert (folder / "models" / "epoch_5.pkl").is_file()
