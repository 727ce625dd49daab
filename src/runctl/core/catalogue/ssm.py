"""Failures of the way to an instance through Systems Manager."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

_PINGS = (
    "  aws ssm describe-instance-information --region {region} --filters Key=InstanceIds,Values={instance}"
)
_STATE = "  aws ec2 describe-instances --region {region} --instance-ids {instance}"
_CONSOLE = "  aws ec2 get-console-output --latest --region {region} --instance-id {instance}"

ENTRIES = {
    "instance-gone": Known(
        errors.MachineGone,
        what="the instance {instance} is no more",
        why="EC2 says {state}: {reason}",
        fix=("see how its runs stand; what they saved can be resumed:", "  runctl runs"),
        explain=(
            "The instance was terminated: by its owner, by the spot market, by its own deadline, or by a failure of "
            "its hardware. What its run had saved in the bucket is still there, and the run can be resumed on another "
            "machine."
        ),
    ),
    "instance-stopped": Known(
        errors.UnreachableError,
        what="the instance {instance} is {state}",
        why="it has to run before anything can be asked of it; EC2 says: {reason}",
        fix=("  runctl aws start {instance}@{region}",),
        explain=(
            "A stopped instance keeps its disk and costs only that. Start it; what was on its disk is still there. "
            "One that is stopping has to be stopped before it can start again."
        ),
    ),
    "ssm-not-registered": Known(
        errors.UnreachableError,
        what="cannot reach {instance} through Systems Manager",
        why="the instance is {state}, but its agent has not registered: {cause}",
        fix=(
            "give it a profile whose role has the policy AmazonSSMManagedInstanceCore, and a way to the service:",
            _STATE,
            "if it has both, read what its agent says:",
            _CONSOLE,
        ),
        explain=(
            "Systems Manager's agent on the instance calls the service; nothing calls the instance. For that it needs "
            "three things. A role: the instance profile with the rights of AmazonSSMManagedInstanceCore. A way out: a "
            "public address or a NAT gateway, or endpoints in the VPC for `ssm`, `ssmmessages` and `ec2messages`. And "
            "the agent itself, which Amazon Linux, Ubuntu and the Deep Learning images bring along. A profile that is "
            "attached later is noticed within half an hour, or at the next boot."
        ),
        transient=True,
    ),
    "ssm-connection-lost": Known(
        errors.UnreachableError,
        what="Systems Manager has lost the agent of {instance}",
        why="the instance is {state}; its agent was last heard at {last_ping}",
        fix=(
            "look what the machine says, and whether its disk or memory is full:",
            _CONSOLE,
            "a reboot brings the agent back, and ends what runs:",
            "  aws ec2 reboot-instances --region {region} --instance-ids {instance}",
        ),
        explain=(
            "The agent was there and is silent. The usual reasons are a full disk (the agent cannot work without "
            "room), memory that ran out and took the agent along, or a network that was cut. The run itself does not "
            "need the agent: it goes on and keeps saving to the bucket."
        ),
        transient=True,
    ),
    "target-not-connected": Known(
        errors.UnreachableError,
        what="no session to {instance} can be opened",
        why="the service says that its agent is not connected, though it was heard at {last_ping}",
        fix=(
            "try again in a minute; if it stays so, the instance cannot reach the endpoint `ssmmessages`:",
            "  aws ec2 describe-vpc-endpoints --region {region}",
            _PINGS,
        ),
        explain=(
            "Sessions go through another endpoint (`ssmmessages`) than registration and commands do. In a VPC "
            "without a way to the internet it needs an endpoint of its own. The agent connects again by itself after "
            "a break, which takes up to some minutes."
        ),
        transient=True,
    ),
    "session-refused": Known(
        errors.UnreachableError,
        what="the session on {instance} ended before it had begun",
        why="{detail}",
        fix=(
            "look at the session preferences of the account, and how the last sessions ended:",
            "  aws ssm describe-sessions --region {region} --state History --max-results 5",
        ),
        explain=(
            "The service opened a session and the agent on the instance did not run the program in it. The reason is "
            "in the agent's own words. Often it is the account's session preferences: RunAs with a user that the "
            "instance does not have, or logging to a bucket or log group that the instance may not use."
        ),
    ),
    "session-encrypted": Known(
        errors.AccessError,
        what="sessions on {instance} have to be encrypted with a key of KMS, which runctl cannot",
        why="the account's session preferences name the key {key}",
        fix=("take the key out of the session preferences; sessions are encrypted by TLS in any case",),
        explain=(
            "The preference adds encryption with a KMS key on top of TLS. It needs the key on both sides of each "
            "session. runctl does not implement it. With `aws.sessions` off everything goes through Run Command: "
            "slower, and without port forwarding and shells."
        ),
    ),
    "session-cut": Known(
        errors.UnreachableError,
        what="the connection to {instance} was cut",
        why="{detail}",
        fix=("  runctl runs",),
        explain=(
            "The session through which runctl speaks to the machine ended, or could not be resumed within a minute. A "
            "run does not depend on it. A command that was under way was ended with it."
        ),
        transient=True,
    ),
    "machine-no-python": Known(
        errors.UsageError,
        what="there is no {python} on {instance}",
        why="all work on a machine is done by programs in Python 3.8 or later",
        fix=("install it there, or name another one:", "  runctl config set python /path/to/python3"),
        explain=(
            "The interpreter only has to run runctl's own small programs; the script's Python comes from its "
            "environment. The images of Amazon Linux 2023 and Ubuntu have one."
        ),
    ),
    "session-denied": Known(
        errors.AccessError,
        what="neither sessions nor commands are allowed on {instance}",
        why="{detail}",
        fix=(
            "ask for this on the instance, AWS-StartNonInteractiveCommand and AWS-StartPortForwardingSession:",
            "  ssm:StartSession",
            "or for this on the instance and AWS-RunShellScript:",
            "  ssm:SendCommand",
        ),
        explain=(
            "runctl speaks to an instance through a session, or through commands where sessions are not allowed. "
            "Policies often allow either only for instances with a certain tag: the action has to be allowed on the "
            "instance and on the document."
        ),
    ),
    "command-lost": Known(
        errors.UnreachableError,
        what="a command on {instance} ended as {status}",
        why="{detail}",
        fix=("look whether the agent answers:", _PINGS),
        explain=(
            "Systems Manager took a command and could not bring it to its end: it was never delivered, somebody "
            "cancelled it, or the agent stopped. What it had begun ends when nobody has asked for a minute and a half. "
            "A run does not depend on it."
        ),
        transient=True,
    ),
    "needs-session": Known(
        errors.AccessError,
        what="{wish} on {instance} needs a session",
        why="{detail}",
        fix=("ask for this on the instance:", "  ssm:StartSession"),
        explain=(
            "Commands of Systems Manager have neither a terminal nor a live input. Forwarding a port and a shell are "
            "only possible where sessions are allowed, and not turned off with `aws.sessions`."
        ),
    ),
    "connection-refused-there": Known(
        errors.UnreachableError,
        what="{host}:{port} cannot be reached from {instance}",
        why="{detail}",
        fix=("check that something listens there, and that the machine may reach it",),
        explain=(
            "The connection is made by the machine, not by this computer: names and addresses mean what they mean "
            "there, and `localhost` is the machine itself."
        ),
    ),
}
