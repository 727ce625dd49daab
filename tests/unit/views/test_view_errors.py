from __future__ import annotations

from tests.unit.views.view_world import Screen

from runctl.core.catalogue import known
from runctl.core.events import Failed, Notice, Output, RunEnded
from runctl.views.errors import block, in_words
from runctl.views.quiet import Quiet
from runctl.views.style import Style

SSM = {
    "code": "script-not-found",
    "what": "cannot reach i-0abc through SSM",
    "why": "the instance is running, but its agent has not registered after 180 s",
    "fix": [
        "attach AmazonSSMManagedInstanceCore to the role `train-node`:",
        "  runctl aws setup --role train-node --with-a-very-long-option that-would-wrap --if-it-were-prose",
    ],
    "context": {
        "step": "acquire",
        "region": "us-west-2",
        "run": "brave-otter-7k2m",
        "role": "train-node",
        "path": "/a b",
        "none": "",
        "events": "/state/runs/brave-otter-7k2m",
    },
}


def test_the_block_has_the_shape_every_error_has():
    assert block(SSM, width=80, style=Style()) == (
        "error[script-not-found]: cannot reach i-0abc through SSM\n"
        "  why:  the instance is running, but its agent has not registered after 180 s\n"
        "  fix:  attach AmazonSSMManagedInstanceCore to the role `train-node`:\n"
        "          runctl aws setup --role train-node --with-a-very-long-option that-would-wrap --if-it-were-prose\n"
        "  at:   step=acquire  region=us-west-2  run=brave-otter-7k2m  path='/a b'\n"
        "  more: --debug for the traceback; runctl explain script-not-found\n"
        "        events in /state/runs/brave-otter-7k2m"
    )


def test_prose_is_wrapped_commands_are_not():
    lines = block(SSM, width=40, style=Style()).splitlines()
    assert lines[1:4] == [
        "  why:  the instance is running, but its",
        "        agent has not registered after",
        "        180 s",
    ]
    assert any(line.endswith("--if-it-were-prose") for line in lines)


def test_what_is_not_known_is_not_said():
    bare = {"code": "x", "what": "cancelled"}
    assert block(bare, width=80, style=Style()) == "error[x]: cancelled\n  more: --debug for the traceback"
    assert block(bare, width=80, style=Style(), traceback="Trace") == "error[x]: cancelled\n\nTrace"


def test_nothing_in_an_error_reaches_the_terminal_as_a_control():
    evil = "\x1b]52;c;evil\x07\r\x9b31m"
    shown = block(
        {"code": "x", "what": evil, "why": evil, "fix": [evil, "  " + evil], "context": {"path": evil}},
        width=80,
        style=Style(),
        traceback=f"line\n  {evil}",
    )
    assert all(character.isprintable() for character in shown.replace("\n", ""))


def test_the_agents_code_and_facts_become_words():
    words = in_words({"code": "script-not-found", "facts": {"script": "tran.py", "near": "train.py"}})
    assert words["what"] == "no such script: tran.py"
    assert in_words({"code": "from-the-future", "facts": {"a": 1}})["code"] == "from-the-future"


def test_quiet_shows_output_and_errors_and_nothing_else():
    screen = Screen()
    face = Quiet(screen.streams, style=Style(), columns=lambda: 80)
    face.emit(Notice("warning", "hidden"))
    face.emit(Output(0, b"loss 0.1"))
    face.emit(RunEnded("failed", 1))
    error = known("script-not-found", script="tran.py")
    face.emit(Failed(error.to_json()))
    face.error(error, traceback="Traceback")
    face.close()
    assert bytes(screen.out) == b"loss 0.1"
    assert screen.said.startswith("\nerror[script-not-found]: no such script: tran.py\n")
    assert screen.said.count("error[") == 1
    assert "Traceback" not in screen.said


def test_of_a_users_own_mistake_no_traceback_is_offered():
    shown = block(known("script-not-found", script="x").to_json(), width=80, style=Style())
    assert shown.splitlines()[-1] == "  more: runctl explain script-not-found"
