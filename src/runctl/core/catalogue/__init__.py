"""Every known failure, once: its family, its words, its fix. Docs, ``runctl explain`` and errors read this table.

Texts are ``str.format`` templates over the facts given to ``known``. A fix line that is a command starts with
two spaces, so that it can be pasted; other lines are prose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import (
    aws,
    aws_account,
    checkpoints,
    containers,
    environment,
    machine,
    machine_store,
    objects,
    project,
    runs,
    sandbox,
    ssh,
    ssm,
    stores,
    usage,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runctl.core import errors
    from runctl.core.catalogue.entry import Known

CATALOGUE: dict[str, Known] = {
    code: entry
    for area in (
        usage,
        project,
        environment,
        containers,
        machine,
        machine_store,
        runs,
        checkpoints,
        sandbox,
        aws,
        aws_account,
        ssh,
        ssm,
        stores,
        objects,
    )
    for code, entry in area.ENTRIES.items()
}


class _Facts(dict[str, Any]):
    """Facts for a template; a fact that is not known shows as ``?`` rather than hiding the error behind a KeyError."""

    def __missing__(self, key: str) -> str:
        return "?"


def known(
    code: str, /, *, why: str | None = None, fix: Iterable[str] | None = None, **facts: Any
) -> errors.RunctlError:
    """Build the error ``code`` from the table, filling its templates with ``facts``.

    Args:
        code: a key of ``CATALOGUE``.
        why: replaces the table's cause where the caller knows better.
        fix: replaces the table's fix lines where the caller knows better.
        facts: fill the templates and become the error's context.

    Raises:
        KeyError: the code is not in the table (a test forbids it).
    """
    entry = CATALOGUE[code]
    fill = _Facts(facts)
    return entry.family(
        code,
        what=entry.what.format_map(fill),
        why=entry.why.format_map(fill) if why is None else why,
        fix=[line.format_map(fill) for line in entry.fix] if fix is None else fix,
        context=facts,
        transient=entry.transient,
    )
