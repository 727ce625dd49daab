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
    "aws-permissions-missing": Known(
        errors.AccessError,
        what="{who} lacks {count} that this takes",
        why="{actions}",
        fix=("this prints all that runctl needs:", "  runctl aws setup --print policy"),
        explain=(
            "Before anything is bought, IAM is asked whether the caller's policies allow every action that the plan "
            "will use (iam:SimulatePrincipalPolicy). These they do not. The error names each action, what it is for, "
            "and the statements to add. Nothing was bought or changed."
        ),
    ),
    "aws-data-denied": Known(
        errors.AccessError,
        what="the machines may not read {address}",
        why="{detail}",
        fix=("let their role read it:", "  runctl aws setup --data {address}"),
        explain=(
            "A machine on AWS reads data with its role, and that may read what runctl itself keeps in the bucket, nothing "
            "else. IAM was asked before anything was bought. `runctl aws setup` adds a policy that lets the role read "
            "and list that address only. Data that belongs to another account has to be opened by that account, too, and "
            "objects encrypted with a key of your own take kms:Decrypt on it."
        ),
    ),
    "aws-quota-short": Known(
        errors.CapacityError,
        what="the quota does not allow {type} {market} in {region}",
        why="`{name}` is {limit} vCPUs, {used} of them are in use, and one takes {vcpus}",
        fix=(
            "ask for more, which takes hours to days:",
            "  aws service-quotas request-service-quota-increase --region {region} --service-code ec2 --quota-code {quota} --desired-value {needed}",
            "or in the browser: {link}",
            "or take a smaller machine, another region, or the other market",
        ),
        explain=(
            "An account may run so many virtual CPUs of a family of machines at once, in each region, with separate "
            "numbers for on demand and spot. New accounts have none of the GPU families. What runs now counts, also "
            "what was not started by runctl."
        ),
    ),
    "aws-no-conditional-writes": Known(
        errors.UsageError,
        what="the store does not honour conditional writes",
        why="{bucket} at {endpoint} took the same key twice, though it was told not to (If-None-Match)",
        fix=("use S3 itself, or a store that honours them:", "  runctl config set aws.bucket NAME"),
        explain=(
            "Two clients that start the same attempt of a run are kept apart by a write that only the first can make. "
            "S3 refuses the second; this endpoint accepts it, so a run could be started twice."
        ),
    ),
}
