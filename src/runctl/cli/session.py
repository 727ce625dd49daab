"""What a command is given: options, a view, a cancel token, and the configuration and runtime, built when asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.core.cancel import CancelToken
from runctl.core.errors import RunctlError
from runctl.core.stdout import to_stdout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from runctl.api import Runtime
    from runctl.project.config import Config
    from runctl.views.base import View


class Options(NamedTuple):
    """The global options of this command line, with the settings that stand behind those that were not given."""

    json: bool = False
    alone: bool = True  # with json: the command prints one value; events would spoil it
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    yes: bool = False
    color: str = "auto"  # auto, always, never
    log_file: Path | None = None
    log_level: str = "info"  # debug, info, warning, error
    quiet_after_seconds: float = 15.0  # a step quiet for so long gets a "still working" line
    config_file: Path | None = None


def options_from(given: Mapping[str, Any]) -> dict[str, Any]:
    """The global options as ``parsing.read`` found them, as fields of ``Options``."""
    fields = {key: value for key, value in given.items() if key != "config"}
    if "log_file" in fields:
        fields["log_file"] = Path(fields["log_file"]).expanduser().absolute()
    if "config" in given:
        fields["config_file"] = Path(given["config"]).expanduser().absolute()
    return fields


def install_signals(cancel: CancelToken, *, say: Callable[[str], None]) -> AbstractContextManager[None]:
    """``cli.signals.install_signals``, loaded by the commands that wait for something."""
    from runctl.cli import signals  # noqa: PLC0415 - the light commands leave Ctrl+C as Python has it

    return signals.install_signals(cancel, say=say)


class Session:
    """One command's surroundings.

    Args:
        given: the fields of ``Options`` that the command line sets; the others come from the configuration.
        env: the process environment, for everything that reads it.
        cwd: where the command was typed; the project is looked for from there.
    """

    def __init__(
        self,
        given: Mapping[str, Any] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._given = dict(given or {})
        self.env: Mapping[str, str] = os.environ if env is None else env
        self.cwd = Path.cwd() if cwd is None else cwd
        self.cancel = CancelToken()
        self._config: Config | None = None
        self._config_error: RunctlError | None = None
        self._config_told = False
        self._options: Options | None = None
        self._view: View | None = None
        self._runtime: Runtime | None = None

    @property
    def options(self) -> Options:
        """The global options. A configuration that cannot be read leaves the built-in defaults here.

        The commands one needs most when the configuration is broken (``cancel``, ``config validate``) keep working;
        a command that asks for ``config`` itself gets the error, and ``close`` warns if none did.
        """
        if self._options is None:
            self._options = Options(**{**self._from_config(), **self._given})
        return self._options

    def _from_config(self) -> dict[str, Any]:
        try:
            config = self._load_config()
        except RunctlError as error:
            self._config_error = error
            return {}
        return config.talk()

    def _load_config(self) -> Config:
        if self._config is None:
            from runctl.project.config import load  # noqa: PLC0415 - not needed by the lightest commands

            flags = {
                key: str(self._given[field])
                for field, key in (("color", "ui.color"), ("log_file", "log.file"))
                if field in self._given
            }
            self._config = load(self.cwd, env=self.env, file=self._given.get("config_file"), flags=flags)
        return self._config

    @property
    def config(self) -> Config:
        """The settings of the project around ``cwd``, loaded once.

        Raises:
            UsageError: ``config-invalid``, listing every problem in every file.
        """
        try:
            return self._load_config()
        except RunctlError:
            self._config_told = True
            raise

    def use_project(self, start: Path, *, flags: Mapping[str, Any] | None = None) -> Config:
        """Load the settings of the project around ``start`` (where the script is), with a command's own flags on top.

        Raises:
            UsageError: ``config-invalid``, or ``usage`` for a flag whose value the setting does not take.
        """
        if start != self.cwd:
            self.cwd = start
            self._config = None
        self._config = self.config.with_flags(flags or {})
        if self._runtime is not None:  # it stands on the settings from before
            self._runtime.close()
            self._runtime = None
        return self._config

    def write_nothing(self) -> None:
        """For a dry run: no log file either, whoever asked for one. To be called before the first look at ``view``."""
        self._options = self.options._replace(log_file=None)

    @property
    def view(self) -> View:
        """How events and errors are shown; chosen once, from the options and from what the streams are.

        Raises:
            UsageError: ``log-unwritable``, once; the next call gives a view that writes no log.
        """
        if self._view is None:
            from runctl import views  # noqa: PLC0415 - the choice loads what it needs

            streams = {
                "stdin_tty": _is_tty(sys.stdin),
                "stdout_tty": _is_tty(sys.stdout),
                "stderr_tty": _is_tty(sys.stderr),
            }

            def cancelled() -> bool:
                return self.cancel.cancelled

            try:
                self._view = views.choose(self.options, **streams, env=self.env, cancelled=cancelled)
            except Exception:  # the log file cannot be opened: a view without one shows that
                without = self.options._replace(log_file=None)
                self._view = views.choose(without, **streams, env=self.env, cancelled=cancelled)
                raise
        return self._view

    @property
    def runtime(self) -> Runtime:
        """The verbs of ``runctl.api``, bound to this session's state folder, settings, token and view."""
        if self._runtime is None:
            from runctl.api import Runtime  # noqa: PLC0415 - the engine is loaded by the commands that act
            from runctl.project.places import state_dir  # noqa: PLC0415 - as above

            self._runtime = Runtime(state_dir(self.env), self.config, self.cancel, self.view.emit)
        return self._runtime

    def out(self, text: str) -> None:
        """Write a line of data to stdout, whatever ``--quiet`` says."""
        self._write(text)

    def out_json(self, value: Any) -> None:
        """Write one JSON value to stdout, on one line; ASCII, so that any path and any locale come through."""
        import json  # noqa: PLC0415 - only for --json

        self._write(json.dumps(value, default=str))

    def _write(self, text: str) -> None:
        r"""A line to stdout. What its encoding has no character for comes as an escape, like ``\xfc``."""
        self._settle()
        encoding = sys.stdout.encoding or "utf-8"
        with to_stdout():
            sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")

    def _settle(self) -> None:
        """What the view draws in place must not be drawn over what is written here."""
        if self._view is not None:
            self._view.settle()

    def say(self, text: str) -> None:
        """Write talk to stderr, unless ``--quiet``; through the view once there is one, which may be drawing there."""
        if self.options.quiet:
            return
        if self._view is not None and not self.options.json:
            from runctl.core.events import Notice  # noqa: PLC0415 - loaded by the view

            self._view.emit(Notice("info", text.strip("\n")))
            return
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question on the terminal; ``--yes`` answers it.

        Raises:
            UsageError: ``confirmation-needed`` when there is nobody to ask: stdin is no terminal, or ``--json``.
        """
        if self.options.yes:
            return True
        if self.options.json or not _is_tty(sys.stdin):
            from runctl.core.catalogue import known  # noqa: PLC0415 - only for an error

            raise known("confirmation-needed", question=question)
        self._settle()
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def mark_config_checked(self) -> None:
        """The command reports on the configuration itself: ``close`` need not warn of it."""
        self._config_told = True

    def close(self) -> None:
        """Let go of the view; warn of a configuration that was passed over. Safe to repeat."""
        if self._config_error is not None and not self._config_told:
            self._config_told = True
            self.say(f"warning: settings ignored: {self._config_error.why}\n  see: runctl config validate")
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.close()
        view, self._view = self._view, None
        if view is not None:
            view.close()


def _is_tty(stream: Any) -> bool:
    try:
        return bool(stream is not None and stream.isatty())
    except ValueError:  # closed
        return False
