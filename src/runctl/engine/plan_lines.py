"""The plan, line by line, as people read it. Pure. Apply does these lines and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runctl.core.model import DepsMode
from runctl.core.quantities import count, size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runctl.core.model import CacheVolume, Offer
    from runctl.engine.plan import EnvironmentPlan, Plan

OTHERS_SHOWN = 5  # further lines of offers in a plan
_SAME = ("machine_type", "region", "spot", "price_per_hour")


@dataclass(frozen=True)
class PlanLine:
    """One thing apply does or that matters to it.

    ``symbol``: ``+`` create or write, ``>`` send, ``=`` reuse, ``%`` command, ``$`` price, ``-`` left out, ``!`` warning, ``@`` calls of the provider's API.
    """

    symbol: str
    what: str
    detail: str = ""


def lines(plan: Plan) -> tuple[PlanLine, ...]:
    """The plan in the order apply works."""
    run = f"{plan.home}/runs/{plan.run_id}"
    out = [*_machine_lines(plan), *_cache_lines(plan.caches), *_code_lines(plan), *_environment_lines(plan)]
    if plan.store:
        out.append(
            PlanLine("+", f"run in {plan.store}/runs/{plan.run_id}", "what the machine tells and saves")
        )
    out += [PlanLine("=", f"data {address}", "to RUNCTL_DATA_DIR") for address in plan.spec.data]
    out += [
        PlanLine("+", f"run folder {run}", "code, output, events, checkpoints"),
        PlanLine("+", f"record of {plan.name}", "in the state folder of this computer"),
        PlanLine("%", " ".join(quoted(plan.command)), f"in {run}/code"),
    ]
    if plan.spec.output:
        out.append(PlanLine("+", f"output in {plan.spec.output}", "a copy of RUNCTL_OUTPUT_DIR"))
    if plan.variables:
        out.append(PlanLine("+", "variables", ", ".join(sorted(plan.variables)) + " (values not shown)"))
    if plan.resume_from:
        start = plan.resume_from if isinstance(plan.resume_from, str) else plan.resume_from["store"]
        out.append(PlanLine("=", f"resume from {start}", "RUNCTL_RESUME_PATH"))
    if plan.spec.limits.max_hours is not None:
        grace = f"then TERM, {plan.spec.limits.grace_seconds:g} s grace, KILL"
        out.append(PlanLine("!", f"ends after {plan.spec.limits.max_hours:g} h at the latest", grace))
    out += [PlanLine("!", warning) for warning in plan.warnings]
    if plan.actions:
        calls = {call for _, some in plan.actions for call in some}
        out.append(
            PlanLine(
                "@",
                count(len(calls), "actions"),
                f"for: {', '.join(dict.fromkeys(p for p, _ in plan.actions))}",
            )
        )
        out += [PlanLine("@", f"  {', '.join(some)}", purpose) for purpose, some in plan.actions]
    return tuple(out)


def _machine_lines(plan: Plan) -> list[PlanLine]:
    offer = plan.offer
    price = PlanLine("$", f"{offer.price_per_hour} {offer.currency} an hour", _price_detail(offer))
    if not plan.buys:
        return [PlanLine("=", f"machine {offer.machine_type}", machine_detail(plan.machine)), price]
    out = [PlanLine("+", f"machine {offer.machine_type}", _offer_detail(offer)), price]
    hours = plan.spec.limits.max_hours
    if hours is not None:
        most = offer.price_per_hour * _decimal(hours)
        out.append(PlanLine("$", f"{most:.2f} {offer.currency} at most", f"for {hours:g} h"))
    groups = _alike(plan.offers[1:])
    out += [
        PlanLine("$", f"  or {_short(group)}", _dearer(group[0], offer)) for group in groups[:OTHERS_SHOWN]
    ]
    hidden = sum(map(len, groups[OTHERS_SHOWN:]))
    if hidden:
        out.append(
            PlanLine("$", f"  or {count(hidden, 'further offers')}", "tried after these, in their order")
        )
    return out


def _cache_lines(caches: Sequence[CacheVolume]) -> list[PlanLine]:
    """The cache volume where the machine is tried first, and where it may land else."""
    if not caches:
        return []
    out = [_cache_line(caches[0])]
    others: dict[str, list[str]] = {}
    for each in caches[1:]:
        others.setdefault(_cache_elsewhere(each), []).append(each.zone)
    out += [PlanLine("+", f"  or {how}", f"in {', '.join(zones)}") for how, zones in others.items()]
    end = "after success, when there is none or it grew by 64 MB; billed by what it holds; older ones of these go"
    return [*out, PlanLine("+", "  snapshot of it at the end", end)]


def _cache_line(cache: CacheVolume) -> PlanLine:
    price = "" if cache.price_per_month is None else f", {cache.price_per_month} USD a month"
    what = f"{cache.gb} GB of gp3 in {cache.zone}{price}"
    if cache.busy:
        return PlanLine(
            "!", f"no cache volume: {cache.volume} is in use", f"by {cache.busy}, in {cache.zone}"
        )
    if cache.volume:
        return PlanLine(
            "=", f"cache volume {cache.name}: {cache.volume}", f"{what}; of equal prices, its zone first"
        )
    made = f"copy of {cache.snapshot}" if cache.snapshot else "new"
    return PlanLine("+", f"cache volume {cache.name}: {made}", f"{what}; stays after the run")


def _cache_elsewhere(cache: CacheVolume) -> str:
    if cache.busy:
        return "without one"
    if cache.volume:
        return cache.volume
    return f"{'a copy of ' + cache.snapshot if cache.snapshot else 'a new one'}, {cache.gb} GB"


def _alike(offers: Sequence[Offer]) -> list[list[Offer]]:
    """Offers that differ in their zone only, together; in the order in which they are tried."""
    groups: list[list[Offer]] = []
    for offer in offers:
        last = groups[-1][0] if groups else None
        same = last is not None and all(getattr(last, each) == getattr(offer, each) for each in _SAME)
        if same:
            groups[-1].append(offer)
        else:
            groups.append([offer])
    return groups


def _decimal(number: float) -> Any:
    from decimal import Decimal  # noqa: PLC0415 - only for what costs something

    return Decimal(str(number))


def _short(group: Sequence[Offer]) -> str:
    places = " ".join(offer.zone or offer.region for offer in group[:2])
    more = f" +{len(group) - 2}" if len(group) > 2 else ""
    return f"{group[0].machine_type} {'spot' if group[0].spot else 'on demand'} {places}{more}"


def _dearer(other: Offer, chosen: Offer) -> str:
    """Why an offer is behind the chosen one."""
    price = f"{other.price_per_hour} an hour"
    if not chosen.price_per_hour or other.price_per_hour == chosen.price_per_hour:
        return f"{price}; the same price"
    more = (other.price_per_hour / chosen.price_per_hour - 1) * 100
    if more < 0:
        return f"{price}; cheaper, but of the other market"
    return f"{price}; {more:.0f} % dearer"


def _offer_detail(offer: Offer) -> str:
    parts = [offer.zone or offer.region, f"{offer.cpus} cores" if offer.cpus else ""]
    parts += [f"{offer.memory_gb:g} GiB memory" if offer.memory_gb else ""]
    parts += [f"{offer.gpus} x {offer.gpu}" if offer.gpus else "no GPU", offer.image]
    return ", ".join(filter(None, parts))


def _code_lines(plan: Plan) -> list[PlanLine]:
    snapshot = plan.code.snapshot
    sends = len(plan.code.sends)
    there = "the store" if plan.store else "the machine"
    out = [PlanLine("=", f"project {plan.code.root}", plan.code.why_root)]
    travels = f"{count(snapshot.files, 'files')}, {size(snapshot.bytes)}; tree {snapshot.digest[:12]}"
    if sends:
        out.append(
            PlanLine(">", f"send {count(sends, 'files')}, {size(plan.code.send_bytes)}", f"of {travels}")
        )
        out += [PlanLine(">", f"  {path}", size(length)) for path, length in plan.code.sends]
    else:
        out.append(PlanLine("=", "nothing to send", f"{there} has all of {travels}"))
    out += [PlanLine("-", left.path, left.rule) for left in plan.code.left_out]
    guard = "looks like a secret; name it under `secrets` in .runctl.toml if it has to travel"
    out += [PlanLine("!", f"left out: {path}", guard) for path in plan.code.secrets]
    return out


def _image_line(plan: Plan) -> PlanLine:
    found = plan.machine.get("container")
    what = f"environment from image {plan.spec.image}"
    if found is None:
        return PlanLine(
            "+", what, "pulled by docker or podman, whichever the machine has; nothing is installed"
        )
    engine = f"{found['engine']} {found['version']}"
    gpu = "with its GPUs" if plan.machine.get("gpus") else "no GPU"
    if found["present"]:
        return PlanLine("=", what, f"{engine} has it; {gpu}; nothing is installed")
    return PlanLine("+", what, f"pulled by {engine}; {gpu}; nothing is installed")


def _environment_lines(plan: Plan) -> list[PlanLine]:
    env = plan.environment
    if plan.spec.image:
        return [_image_line(plan)]
    if env.request is None:
        return [PlanLine("=", "nothing to install", f"{env.why}; the machine's own Python")]
    if not env.key and plan.offer.baked:
        what = f"environment {plan.offer.baked} is in the image {plan.offer.image}"
        return [PlanLine("=", what, f"{env.why}; nothing to install")]
    if not env.key:
        made = PlanLine("+", f"environment in {plan.home}/envs", f"{env.why}; {_waits(env.mode)}")
        return [made, *_level_lines(env)]
    if env.cached:
        return [PlanLine("=", f"environment {env.key} is there", f"{env.why}; python {env.python}")]
    where = f"{plan.home}/envs/{env.key}"
    return [
        PlanLine("+", f"environment {where}", f"{env.why}; {env.installer}, {_waits(env.mode)}"),
        *(PlanLine("%", " ".join(quoted(argv))) for argv in env.commands),
    ]


def _level_lines(env: EnvironmentPlan) -> list[PlanLine]:
    """Where it comes from on a machine that nobody knows yet: what decides is the Python it has."""
    out = []
    for one in env.stored:
        what = f"  restored if the machine has Python {one.python}: {size(one.packed)} from the store"
        if one.expected_restore is None:
            took = "nobody has restored it yet"
        else:
            took = f"about {one.expected_restore:.1f} s, as before"
        out.append(PlanLine("=", what, f"{count(one.packages, 'packages')}, {size(one.bytes)}; {took}"))
    times = [one.expected_build for one in env.stored if one.expected_build is not None]
    if times:
        out.append(PlanLine("+", "  built otherwise", f"about {max(times):.1f} s, as before"))
    else:
        out.append(
            PlanLine("+", "  built", "the store does not have it; how long that takes is not known yet")
        )
    return out


def _waits(mode: DepsMode) -> str:
    return "the script starts meanwhile" if mode is DepsMode.BACKGROUND else "before the script starts"


def machine_detail(machine: Mapping[str, Any]) -> str:
    """A machine's facts in a few words."""
    gpus = ", ".join(gpu["name"] for gpu in machine.get("gpus", [])) or "no GPU"
    memory, disk = size(machine.get("memory_bytes", 0)), size(machine.get("disk_free_bytes", 0))
    return f"{machine.get('cpus', '?')} cores, {memory} memory, {disk} disk free, {gpus}"


def _price_detail(offer: Offer) -> str:
    if not offer.price_per_hour:
        return "nothing is bought"
    market = "spot" if offer.spot else "on demand"
    return f"{market}; {offer.price_source}" if offer.price_source else market


def quoted(argv: Sequence[str]) -> list[str]:
    """The words of a command as a shell wants them."""
    import shlex  # noqa: PLC0415 - only when a plan is shown

    return [shlex.quote(word) for word in argv]
