"""The verbs of runctl as functions. The command line, a script and a notebook all call these.

    runtime = api.Runtime(state_dir, config, CancelToken(), emit=print)
    plan = api.make_plan(runtime, "training/train.py", args=["--epochs", "20"])
    run = api.train(runtime, plan)

Nothing here prints or reads argv. Every function raises ``RunctlError``; a set token ends it with ``Cancelled``.
A name is loaded when it is first used: who only lists runs does not pay for what plans them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runctl.api.account import apply_aws_setup as apply_aws_setup
    from runctl.api.account import aws_policies as aws_policies
    from runctl.api.account import aws_terraform as aws_terraform
    from runctl.api.account import plan_aws_setup as plan_aws_setup
    from runctl.api.booted import resume as resume
    from runctl.api.checkpoint_choice import choose_checkpoint as choose_checkpoint
    from runctl.api.checkpoint_cleanup import old_checkpoints as old_checkpoints
    from runctl.api.checkpoint_cleanup import remove_checkpoints as remove_checkpoints
    from runctl.api.cleaning import clean as clean
    from runctl.api.cleaning import collect as collect
    from runctl.api.cleaning import debts as debts
    from runctl.api.cleaning import garbage as garbage
    from runctl.api.cleaning import see_gone as see_gone
    from runctl.api.comparing import compare as compare
    from runctl.api.doctor import check as check
    from runctl.api.doctor import checks_for_plan as checks_for_plan
    from runctl.api.doctor import explain as explain
    from runctl.api.env_building import build_environment as build_environment
    from runctl.api.environments import full_key as full_key
    from runctl.api.environments import local_environments as local_environments
    from runctl.api.environments import prune_local as prune_local
    from runctl.api.environments import prune_store as prune_store
    from runctl.api.environments import pull_environment as pull_environment
    from runctl.api.environments import push_environment as push_environment
    from runctl.api.environments import store_of as store_of
    from runctl.api.environments import stored_environments_in as stored_environments_in
    from runctl.api.images import build_image as build_image
    from runctl.api.images import containerfile_of as containerfile_of
    from runctl.api.images import image_for_run as image_for_run
    from runctl.api.images import push_image as push_image
    from runctl.api.object_listing import disk_usage as disk_usage
    from runctl.api.object_listing import list_objects as list_objects
    from runctl.api.objects import plan_copy as plan_copy
    from runctl.api.planning import make_plan as make_plan
    from runctl.api.pulling import pull_checkpoint as pull_checkpoint
    from runctl.api.pulling import pull_outputs as pull_outputs
    from runctl.api.reaching import connect as connect
    from runctl.api.reaching import execute as execute
    from runctl.api.reaching import forward as forward
    from runctl.api.reaching import reach as reach
    from runctl.api.reaching import shell as shell
    from runctl.api.reaching import ssh_settings as ssh_settings
    from runctl.api.resources import held as held
    from runctl.api.resources import resources as resources
    from runctl.api.runtime import Runtime as Runtime
    from runctl.api.saved_plans import load_plan as load_plan
    from runctl.api.saved_plans import save_plan as save_plan
    from runctl.api.syncing import keep_synced as keep_synced
    from runctl.api.syncing import sync as sync
    from runctl.api.syncing import would_sync as would_sync
    from runctl.api.training import new_run as new_run
    from runctl.api.training import train as train
    from runctl.api.transferring import plan_transfer as plan_transfer
    from runctl.api.unfinished import give_up_uploads as give_up_uploads
    from runctl.api.unfinished import unfinished_uploads as unfinished_uploads
    from runctl.api.verifying import verify as verify
    from runctl.api.watching import attach as attach
    from runctl.api.watching import cancel as cancel
    from runctl.api.watching import checkpoints as checkpoints
    from runctl.api.watching import follow as follow
    from runctl.api.watching import get_run as get_run
    from runctl.api.watching import learn_runs as learn_runs
    from runctl.api.watching import list_runs as list_runs
    from runctl.api.watching import logs as logs
    from runctl.api.watching import raise_for_outcome as raise_for_outcome
    from runctl.api.watching import refresh as refresh
    from runctl.api.watching import remove as remove

_HOMES = {
    "Runtime": "runtime",
    "make_plan": "planning",
    "save_plan": "saved_plans",
    "load_plan": "saved_plans",
    "resume": "booted",
    "choose_checkpoint": "checkpoint_choice",
    "pull_checkpoint": "pulling",
    "pull_outputs": "pulling",
    "compare": "comparing",
    "verify": "verifying",
    "build_environment": "env_building",
    **dict.fromkeys(("build_image", "containerfile_of", "image_for_run", "push_image"), "images"),
    "plan_copy": "objects",
    "plan_transfer": "transferring",
    **dict.fromkeys(("give_up_uploads", "unfinished_uploads"), "unfinished"),
    **dict.fromkeys(("disk_usage", "list_objects"), "object_listing"),
    **dict.fromkeys(("old_checkpoints", "remove_checkpoints"), "checkpoint_cleanup"),
    **dict.fromkeys(("held", "resources"), "resources"),
    **dict.fromkeys(("new_run", "train"), "training"),
    **dict.fromkeys(("check", "checks_for_plan", "explain"), "doctor"),
    **dict.fromkeys(("connect", "execute", "forward", "reach", "shell", "ssh_settings"), "reaching"),
    **dict.fromkeys(("keep_synced", "sync", "would_sync"), "syncing"),
    **dict.fromkeys(
        (
            "full_key",
            "local_environments",
            "prune_local",
            "prune_store",
            "pull_environment",
            "push_environment",
            "store_of",
            "stored_environments_in",
        ),
        "environments",
    ),
    "clean": "cleaning",
    "collect": "cleaning",
    "debts": "cleaning",
    "see_gone": "cleaning",
    "garbage": "cleaning",
    **dict.fromkeys(("apply_aws_setup", "aws_policies", "aws_terraform", "plan_aws_setup"), "account"),
    **dict.fromkeys(
        (
            "attach",
            "cancel",
            "checkpoints",
            "follow",
            "get_run",
            "learn_runs",
            "list_runs",
            "logs",
            "raise_for_outcome",
            "refresh",
            "remove",
        ),
        "watching",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
