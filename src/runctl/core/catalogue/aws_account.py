"""Failures of an AWS account: what it is set up with, what it allows, what stands in the way of undoing it."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

ENTRIES = {
    "aws-bucket-closed": Known(
        errors.AccessError,
        what="the bucket {bucket} may not be used",
        why="it belongs to another account than {account}, or its policy or yours keeps you out",
        fix=(
            "take another name, or leave it to runctl:",
            "  runctl aws setup --bucket NAME",
            "  runctl config unset aws.bucket",
        ),
        explain=(
            "The names of buckets are shared by all accounts. This one exists, and S3 refuses to show it to you as a "
            "bucket of your account. runctl always says whose bucket it expects, so that nothing of yours is ever "
            "written into a bucket that somebody else made under the name you use."
        ),
    ),
    "aws-setup-in-use": Known(
        errors.UsageError,
        what="machines still use the instance profile {profile}",
        why="{machines}",
        fix=(
            "end them first; what runctl bought is listed and ended by:",
            "  runctl clean",
            "anything else by whoever started it:",
            "  aws ec2 terminate-instances --instance-ids {first}",
        ),
        explain=(
            "Without its role a machine could neither keep its checkpoints nor be reached. So `runctl aws setup "
            "--remove` does nothing while instances have it, stopped ones included."
        ),
    ),
    "aws-setup-unsettled": Known(
        errors.UnreachableError,
        what="AWS does not yet show everything that was set up",
        why="after {seconds} s this is still to be seen: {changes}",
        fix=("wait a minute, and look again:", "  runctl aws setup"),
        explain=(
            "Every call succeeded. IAM and S3 take a moment to show a change everywhere, rarely more than some "
            "seconds. Repeating the command does what is missing, if anything is. If the same line comes back for "
            "ever, somebody else keeps changing it, for example a tool that enforces rules of your organisation."
        ),
        transient=True,
    ),
}
