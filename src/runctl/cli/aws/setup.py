"""``runctl aws setup``: show what the account lacks, ask, make exactly that; ``--remove`` undoes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known

if TYPE_CHECKING:
    import argparse

    from runctl.aws.setup import SetupPlan
    from runctl.cli.session import Session

EPILOG = """\
It makes a private, encrypted bucket for code, runs and checkpoints, and a role and an instance profile that let
machines use that bucket, Systems Manager and your own ECR images, nothing else. Repeating it changes nothing that is as it should be.
None of it costs anything but what the bucket stores.

examples:
  runctl aws setup --dry-run
  runctl aws setup --bucket my-runs --role train-node
  runctl aws setup --data s3://my-data/mnist
  runctl aws setup --print terraform > runctl.tf
  runctl aws setup --print policy > policies.json
  runctl aws setup --remove
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl aws setup``."""
    parser.epilog = EPILOG
    parser.add_argument("-n", "--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument("--bucket", metavar="NAME", default="", help="another bucket than aws.bucket")
    parser.add_argument(
        "--role",
        metavar="NAME",
        default="",
        help="another role and instance profile than aws.instance_profile",
    )
    parser.add_argument(
        "--data",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="let machines read s3://BUCKET/PREFIX, too; may be given again, what they read already stays",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--print",
        dest="printed",
        choices=("terraform", "policy"),
        help="print the set-up as Terraform, or its policies as JSON, and do nothing",
    )
    instead.add_argument(
        "--remove",
        action="store_true",
        help="undo it; a bucket with objects in it stays, as does what others made",
    )


def run(args: argparse.Namespace, session: Session) -> int:
    """Show, ask, do; 0 when the account is as asked for, or nobody wanted it to be. Raises what AWS says."""
    from runctl import api  # noqa: PLC0415 - `--help` does without boto3
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    if args.remove and args.data:
        raise known("usage", why="--data lets machines read more, --remove takes all of it away")
    data = tuple(args.data)
    if args.dry_run:
        session.write_nothing()
    with install_signals(session.cancel, say=session.say):
        if args.printed:
            return _print(args, session)
        plan = api.plan_aws_setup(
            session.runtime, bucket=args.bucket, role=args.role, data=data, remove=args.remove
        )
        if not session.options.json:
            _show(plan, session)
        if args.dry_run or not plan.changes:
            return _ended(plan, session, applied=False)
        if not session.confirm("Remove it?" if args.remove else "Do it?"):
            return 0
        api.apply_aws_setup(session.runtime, plan)
        if not args.remove:
            _say_settings(plan, session)
        return _ended(plan, session, applied=True)


def _print(args: argparse.Namespace, session: Session) -> int:
    from runctl import api  # noqa: PLC0415 - as above

    wanted: dict[str, Any] = {"bucket": args.bucket, "role": args.role, "data": tuple(args.data)}
    if args.printed == "terraform":
        text = api.aws_terraform(session.runtime, **wanted)
        if session.options.json:
            session.out_json({"terraform": text})
        else:
            session.out(text.rstrip("\n"))
        return 0
    policies = api.aws_policies(session.runtime, **wanted)
    if session.options.json:
        session.out_json(policies)
    else:
        import json  # noqa: PLC0415

        session.out(json.dumps(policies, indent=2))
    return 0


def _show(plan: SetupPlan, session: Session) -> None:
    from runctl.cli.output import out_style, out_width  # noqa: PLC0415 - only when one is shown
    from runctl.views.plan import CHANGES, render  # noqa: PLC0415

    width = out_width() or 100
    shown = render(plan.name, plan.lines(), width=width, style=out_style(session), sections=CHANGES)
    session.out(shown + "\n")


def _ended(plan: SetupPlan, session: Session, *, applied: bool) -> int:
    if session.options.json:
        session.out_json({**plan.to_json(), "applied": applied})
    elif not plan.changes:
        session.say("nothing to do")
    return 0


def _say_settings(plan: SetupPlan, session: Session) -> None:
    """Names that the next command would not look for have to be told to it."""
    from runctl.aws.names import names  # noqa: PLC0415

    expected = names(session.config.get, account=plan.names.account, region=plan.names.region)
    lines = []
    if plan.names.bucket != expected.bucket:
        lines.append(f"  runctl config set aws.bucket {plan.names.bucket}")
    if plan.names.profile != expected.profile:
        lines.append(f"  runctl config set aws.instance_profile {plan.names.profile}")
    if lines:
        session.view.settle()
        session.say("\n".join(["so that runs find them:", *lines]))
