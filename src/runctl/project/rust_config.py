"""The configuration of the Rust tool that had the same name, and the same file: told apart, and brought over. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTIONS: Final = ("runpod", "local", "checkpoint", "monitoring")  # of its file, and of none of ours
_AWS: Final = ("default_instance_type", "default_ami", "use_spot", "spot_max_price", "iam_instance_profile")
_DEFAULT_AMI: Final = "ami-08fa3ed5577079e64"  # its default, of one region and undated
_FREE: Final = (
    "name folders in the script; it is given $RUNCTL_CHECKPOINT_DIR and $RUNCTL_OUTPUT_DIR, which are kept"
)

# its key → ours
_SAME: Final = {
    "aws.region": "aws.region",
    "aws.default_instance_type": "instance_type",
    "aws.default_ami": "aws.image",
    "aws.use_spot": "spot",
    "aws.iam_instance_profile": "aws.instance_profile",
    "aws.s3_bucket": "aws.bucket",
}
# its key → why it has no successor
_GONE: Final = {
    "aws.spot_max_price": "a spot machine costs the market's price, at most that on demand; a ceiling only interrupts",
    "aws.default_project_name": "a project is called as its folder is",
    "aws.user_id": "machines carry the name of the account that buys them",
    "runpod.api_key": "a key stands in no file: put it into the environment as RUNPOD_API_KEY",
    "runpod.default_gpu": "ask for one where you need it: --gpu",
    "runpod.default_disk_gb": "ask for it where you need it: --disk",
    "runpod.default_image": "environments are installed; see docs/guides/environments.md",
    "local.default_device": "the script decides",
    "local.checkpoint_dir": _FREE,
    "checkpoint.dir": _FREE,
    "checkpoint.save_interval": "the script decides when it saves",
    "checkpoint.keep_last_n": "say it when you clean up: runctl checkpoint cleanup, runctl s3 cleanup --keep",
    "monitoring.log_dir": "output is kept with each run: runctl logs",
    "monitoring.update_interval_secs": "output comes as it is printed",
    "monitoring.enable_warnings": "warnings are always told; --quiet hides them",
}


class Translated(NamedTuple):
    """Our settings by key, in order; what was left behind with the reason; and what to know of what came over."""

    settings: dict[str, Any]
    left: list[tuple[str, str]]
    notes: list[tuple[str, str]]


def is_one(table: Mapping[str, Any]) -> bool:
    """Whether a parsed file is of the Rust tool."""
    aws = table.get("aws")
    return any(isinstance(table.get(name), dict) for name in SECTIONS) or (
        isinstance(aws, dict) and any(name in aws for name in (*_AWS, "s3_bucket"))
    )


def translate(table: Mapping[str, Any]) -> Translated:
    """What of it is a setting of ours, and what is not."""
    found = Translated({}, [], [])
    for section, values in table.items():
        for name, value in values.items() if isinstance(values, dict) else ():
            key = f"{section}.{name}"
            if key == "aws.default_ami" and value == _DEFAULT_AMI:
                found.left.append(
                    (key, "it was the default, of one region; the newest image that fits is looked up")
                )
            elif key in _SAME:
                found.settings[_SAME[key]] = value
            else:
                found.left.append((key, _GONE.get(key, "the Rust tool did not know it either")))
    if found.settings.get("spot") is not None:
        found.notes.append(("spot", "it counts now; the Rust tool never read aws.use_spot"))
    if "aws.bucket" in found.settings:
        found.notes.append(("aws.bucket", "let runctl check it, and the role of machines: runctl aws setup"))
    return found
