"""The plan as programs read it: for ``--json``, for the record, and for ``runctl plan -o`` and ``runctl apply``. Pure."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

from runctl.core.model import Resources
from runctl.engine.plan_lines import lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.core.model import Offer
    from runctl.engine.plan import Plan

SCHEMA = 1


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON values. Holds no value of a variable."""
    snapshot, env = plan.code.snapshot, plan.environment
    return {
        "v": SCHEMA,
        "run_id": plan.run_id,
        "name": plan.name,
        "script": str(plan.spec.script),
        "args": list(plan.spec.args),
        "target": plan.spec.target,
        "store": plan.store,
        "buys": plan.buys,
        "attempt": plan.attempt,
        "machine": dict(plan.machine),
        "offer": offer_json(plan.offer),
        "offers": [offer_json(offer) for offer in plan.offers],
        "code": {
            "root": str(plan.code.root),
            "why_root": plan.code.why_root,
            "tree": snapshot.digest,
            "files": snapshot.files,
            "bytes": snapshot.bytes,
            "send_files": len(plan.code.sends),
            "send_bytes": plan.code.send_bytes,
            "sends": [{"path": path, "bytes": size} for path, size in plan.code.sends],
            "left_out": [{"path": left.path, "rule": left.rule} for left in plan.code.left_out],
            "secrets_left_out": list(plan.code.secrets),
        },
        "environment": {
            "why": env.why,
            "deps": str(env.mode),
            "key": env.key,
            "digest": "" if env.request is None else env.request["digest"],
            "cached": env.cached,
            "installer": env.installer,
            "python": env.python,
            "stored": [one.to_json() for one in env.stored],
            "commands": [list(argv) for argv in env.commands],
        },
        "image": plan.spec.image,
        "command": list(plan.command),
        "variables": sorted(plan.variables),
        "resume_from": plan.resume_from,
        "caches": [each.to_json() for each in plan.caches],
        "resources": asdict(plan.spec.resources),
        "keep_machine": plan.spec.keep,
        "data": list(plan.spec.data),
        "output": plan.spec.output,
        "max_hours": plan.spec.limits.max_hours,
        "grace_seconds": plan.spec.limits.grace_seconds,
        "writes": [line.what for line in lines(plan) if line.symbol == "+"],
        "warnings": list(plan.warnings),
        "actions": [{"what_for": purpose, "calls": list(calls)} for purpose, calls in plan.actions],
    }


def resources_from_json(value: Mapping[str, Any]) -> Resources:
    """The inverse of what a plan says under ``resources``; what a newer version added is dropped."""
    names = {each.name for each in fields(Resources)}
    kept: dict[str, Any] = {
        key: tuple(each) if isinstance(each, list) else each for key, each in value.items() if key in names
    }
    return replace(Resources(), **kept)


def offer_json(offer: Offer) -> dict[str, Any]:
    """An offer as plain JSON values; money is text."""
    return {
        "provider": offer.provider,
        "machine_type": offer.machine_type,
        "region": offer.region,
        "zone": offer.zone,
        "spot": offer.spot,
        "price_per_hour": str(offer.price_per_hour),
        "currency": offer.currency,
        "price_source": offer.price_source,
        "cpus": offer.cpus,
        "memory_gb": offer.memory_gb,
        "gpu": offer.gpu,
        "gpus": offer.gpus,
        "image": offer.image,
        "baked_environment": offer.baked,
    }
