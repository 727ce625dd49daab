"""Plans kept in files: what ``runctl plan -o`` writes and ``runctl apply`` holds the world to."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.engine.folders import replace_file
from runctl.engine.plan_json import SCHEMA, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runctl.core.model import Offer
    from runctl.engine.plan import Plan

_SAME = ("script", "args", "target", "store", "data", "output", "max_hours", "variables", "resume_from")
_WHICH = ("machine_type", "region", "zone", "spot")  # what makes two offers the same but for their price


def save_plan(path: Path, plan: Plan, asked: Mapping[str, Any]) -> None:
    """Write ``plan`` to ``path``, with what the user had asked for: ``resume`` and ``settings``."""
    text = json.dumps({"v": SCHEMA, "asked": dict(asked), "plan": to_json(plan)}, indent=1, default=str)
    replace_file(path, text.encode() + b"\n")


@dataclass(frozen=True)
class SavedPlan:
    """A plan as a file has it."""

    plan: Mapping[str, Any]
    asked: Mapping[str, Any]

    @property
    def script(self) -> Path:
        """The script, by its absolute path."""
        root, script = self.plan["code"]["root"], self.plan["script"]
        return Path(root, script)

    @property
    def args(self) -> tuple[str, ...]:
        """The script's own arguments."""
        return tuple(self.plan["args"])

    @property
    def resume(self) -> str | None:
        """The run or path it was to start from, as the user said it."""
        value: str | None = self.asked["resume"]
        return value

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the command line had set."""
        return dict(self.asked["settings"])

    def hold(self, fresh: Plan) -> Plan:
        """``fresh`` under the saved name, with the saved offers in their order at the prices of now.

        Raises:
            UsageError: ``plan-drifted``, naming all that changed.
        """
        differences = list(self._differences(fresh))
        if differences:
            raise known("plan-drifted", script=self.plan["script"], detail="\n".join(differences))
        now = {_which(offer): offer for offer in fresh.offers}
        kept = [now[which] for each in self.plan["offers"] if (which := _which_json(each)) in now]
        return replace(fresh, run_id=self.plan["run_id"], name=self.plan["name"], offers=tuple(kept))

    def _differences(self, fresh: Plan) -> Iterator[str]:
        now = json.loads(json.dumps(to_json(fresh), default=str))
        for key in _SAME:
            if now[key] != self.plan[key]:
                yield f"{key}: was {self.plan[key]}, is {now[key]}"
        if now["image"] != (before := self.plan.get("image", "")):
            yield f"image: was {before or 'none'}, is {now['image'] or 'none'}"
        if now["code"]["tree"] != self.plan["code"]["tree"]:
            yield f"the code has changed: tree {self.plan['code']['tree'][:12]} is {now['code']['tree'][:12]} now"
        if now["environment"]["digest"] != self.plan["environment"]["digest"]:
            yield "the dependencies have changed"
        before, after = (each.get("caches") or [{}] for each in (self.plan, now))
        if any(before[0].get(key) != after[0].get(key) for key in ("volume", "snapshot", "busy", "gb")):
            yield "the cache volume is not what it was"
        chosen = self.plan["offer"]
        found = {_which(offer): offer for offer in fresh.offers}.get(_which_json(chosen))
        if found is None:
            yield f"{chosen['machine_type']} in {chosen['zone'] or chosen['region']} is no longer offered"
        elif found.price_per_hour > Decimal(chosen["price_per_hour"]):
            yield f"the price was {chosen['price_per_hour']} an hour and is {found.price_per_hour}"


def _which(offer: Offer) -> tuple[object, ...]:
    return tuple(getattr(offer, key) for key in _WHICH)


def _which_json(offer: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(offer[key] for key in _WHICH)


def load_plan(path: Path) -> SavedPlan:
    """Read what ``save_plan`` wrote. Raises ``plan-unreadable``."""
    try:
        value = json.loads(path.read_bytes())
        saved, version = SavedPlan(value["plan"], value["asked"]), value["v"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise known("plan-unreadable", path=str(path), detail=str(error) or repr(error)) from error
    if version != SCHEMA:
        raise known("plan-unreadable", path=str(path), detail=f"it is of version {version}, not {SCHEMA}")
    return saved
