"""Failures of AWS: credentials, permissions, capacity, quotas, the network, and what an account is set up with."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

_WHO_AM_I = "  aws sts get-caller-identity"

ENTRIES = {
    "aws-extra": Known(
        errors.UsageError,
        what="the AWS parts of runctl are not installed",
        why="they need {missing}, which the extra `aws` brings",
        fix=("  pip install 'runctl[aws]'",),
        explain="runctl itself needs no AWS library. boto3 and what else AWS takes come with the extra `aws`.",
    ),
    "aws-no-credentials": Known(
        errors.AccessError,
        what="there are no AWS credentials",
        why="neither the environment, nor the profile {profile}, nor the machine's role has any",
        fix=(
            "  aws configure",
            "  aws sso login",
            "or name a profile that has some:",
            "  runctl config set aws.profile NAME",
        ),
        explain=(
            "runctl looks for credentials where every AWS tool does: the variables AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, the profile of AWS_PROFILE or of the setting aws.profile, a login of `aws sso`, "
            "and the role of the machine it runs on. None of them has any. Nothing was asked of AWS."
        ),
    ),
    "aws-credentials-broken": Known(
        errors.AccessError,
        what="the AWS credentials of profile {profile} cannot be read",
        why="{detail}",
        fix=("  aws configure list", "complete or remove what it shows as wrong"),
        explain=(
            "A source of credentials was found and does not work: a key without its secret, or a `credential_process` "
            "that failed. The cause is in its own words. Fix it, or take another profile with the setting aws.profile."
        ),
    ),
    "aws-profile-unknown": Known(
        errors.UsageError,
        what="there is no AWS profile {profile}",
        why="the profiles there are: {profiles}",
        fix=("  aws configure list-profiles", "  runctl config set aws.profile NAME"),
        explain=(
            "The setting aws.profile, or the variable AWS_PROFILE, names a profile that neither ~/.aws/config nor "
            "~/.aws/credentials has."
        ),
    ),
    "aws-credentials-expired": Known(
        errors.AccessError,
        what="the AWS credentials have expired",
        why="{action} was refused: {detail}",
        fix=(
            "get new ones, for example:",
            "  aws sso login",
            "then run the same command again, or look at what goes on:",
            "  runctl runs",
        ),
        explain=(
            "Credentials of a session end after a while. A run that has started does not need yours: its machine has "
            "a role of its own and goes on, keeps its checkpoints and ends itself when it is done. Log in again and "
            "attach to it."
        ),
    ),
    "aws-sso-expired": Known(
        errors.AccessError,
        what="the AWS login of profile {profile} has ended",
        why="{detail}",
        fix=("  aws sso login --profile {profile}",),
        explain=(
            "The profile gets its credentials from a login in the browser (IAM Identity Center), which lasts some "
            "hours. It has ended or never was. Runs that have started do not depend on it."
        ),
    ),
    "aws-credentials-invalid": Known(
        errors.AccessError,
        what="AWS does not accept the credentials",
        why="{action} in {region} was refused: {detail}",
        fix=(
            "check which ones are used:",
            "  aws configure list",
            "  " + _WHO_AM_I.strip(),
            "check this computer's clock: a wrong one makes every signature wrong",
        ),
        explain=(
            "The key was deleted or made inactive, its secret is another one, it belongs to another partition of AWS, "
            "or the region is not enabled for the account. A clock that is minutes off has the same effect."
        ),
    ),
    "aws-clock-skew": Known(
        errors.AccessError,
        what="this computer's clock differs too much from AWS's",
        why="{action} was refused: {detail}",
        fix=("set the clock, best by NTP:", "  timedatectl set-ntp true", "  date -u"),
        explain=(
            "Requests carry the time at which they were signed, and AWS refuses those that are more than some minutes "
            "off. After a laptop has slept, its clock may need a moment."
        ),
    ),
    "aws-no-region": Known(
        errors.UsageError,
        what="no AWS region is set",
        why="neither aws.region, nor AWS_REGION, nor the profile says one",
        fix=("  runctl config set aws.region us-east-1", "or take another one near you"),
        explain=(
            "Machines and buckets live in a region, and runctl does not choose one for you: prices, quotas and the way "
            "of your data depend on it."
        ),
    ),
    "aws-region-unknown": Known(
        errors.UsageError,
        what="{region} is no AWS region",
        why="{detail}",
        fix=("  aws account list-regions", "  runctl config set aws.region us-east-1"),
        explain="The name of the region cannot be part of an address; a region is written like us-east-1.",
    ),
    "aws-region-closed": Known(
        errors.AccessError,
        what="the account cannot use {region} yet",
        why="{detail}",
        fix=(
            "enable the region for the account, or wait until AWS has verified it; meanwhile take another:",
            "  runctl config set aws.region us-east-1",
        ),
        explain=(
            "Newer regions have to be enabled once for an account, and new accounts are verified before they may "
            "start machines, which takes minutes to hours. The reason is in AWS's own words."
        ),
    ),
    "aws-denied": Known(
        errors.AccessError,
        what="{who} may not do {action}",
        why="on {resource}: {because}",
        fix=(
            "let whoever owns the account allow {action} on {resource}; this prints all that runctl needs:",
            "  runctl aws setup --print policy",
            "check who asks:",
            _WHO_AM_I,
        ),
        explain=(
            "AWS refused one action. The error names it, the resource, and as far as AWS says it, whether no policy "
            "allows it or one forbids it (your own, the organisation's, the bucket's). Where you may use "
            "sts:DecodeAuthorizationMessage, EC2's encoded reason has been decoded."
        ),
    ),
    "aws-pass-role": Known(
        errors.AccessError,
        what="{who} may not give the instance its role",
        why="iam:PassRole on {resource}: {because}",
        fix=(
            "let whoever owns the account allow iam:PassRole on {resource}; this prints all that runctl needs:",
            "  runctl aws setup --print policy",
            _WHO_AM_I,
        ),
        explain=(
            "An instance that acts with a role needs somebody who may pass that role on. It is an action of its own, "
            "iam:PassRole, best allowed for that one role and the service ec2.amazonaws.com alone."
        ),
    ),
    "aws-spot-role": Known(
        errors.AccessError,
        what="the account has never used spot instances, and {who} may not prepare it",
        why="{detail}",
        fix=(
            "once, by somebody who may:",
            "  aws iam create-service-linked-role --aws-service-name spot.amazonaws.com",
            "or take the on-demand market",
        ),
        explain=(
            "The first spot request of an account makes a role for the spot service. That needs "
            "iam:CreateServiceLinkedRole once; afterwards nobody needs it again."
        ),
    ),
    "aws-no-capacity": Known(
        errors.CapacityError,
        what="AWS has no such machine free now",
        why="{detail}",
        fix=("try again later, or allow more: other types, zones, regions, the other market",),
        explain=(
            "In that zone, for that market, AWS has no hardware of the type left at this moment. It is not your quota. "
            "runctl goes on to the next offer by itself; this error means that the list has come to its end, or that "
            "only this one was allowed."
        ),
        transient=True,
    ),
    "aws-quota": Known(
        errors.CapacityError,
        what="the account's quota does not allow that machine in {region}",
        why="{detail}",
        fix=(
            "ask for more, or for a smaller machine:",
            "  aws service-quotas list-service-quotas --service-code ec2 --region {region}",
            "  aws service-quotas request-service-quota-increase --service-code ec2 --quota-code CODE --desired-value VCPUS",
        ),
        explain=(
            "Each account may run so many virtual CPUs of a family of machines at once, with separate numbers for "
            "on-demand and spot and for each region; for GPU families a new account often has none. The quotas are "
            "called `Running On-Demand G and VT instances`, `All G and VT Spot Instance Requests` and alike. Trying "
            "again does not help: a raise has to be granted, which takes hours to days."
        ),
    ),
    "aws-type-not-here": Known(
        errors.CapacityError,
        what="that type of machine is not sold there",
        why="{detail}",
        fix=(
            "allow other zones or regions",
            "  aws ec2 describe-instance-type-offerings --location-type availability-zone",
        ),
        explain=(
            "Not every zone of a region has every type. Offers are made from what AWS lists for each zone, so this is "
            "rare; runctl goes on to the next offer by itself."
        ),
        transient=True,
    ),
    "aws-type-unknown": Known(
        errors.UsageError,
        what="AWS has no such instance type in {region}",
        why="{detail}",
        fix=("  aws ec2 describe-instance-types --region {region}",),
        explain="The type is misspelt, or the region does not have it. A type is written like g5.xlarge.",
    ),
    "aws-image-unknown": Known(
        errors.UsageError,
        what="the machine image cannot be used in {region}",
        why="{detail}",
        fix=(
            "leave it to runctl, which looks up the newest public one:",
            "  runctl config set aws.image ''",
            "or name one of that region",
        ),
        explain=(
            "Images (AMIs) belong to one region, and old ones are withdrawn. Without the setting aws.image runctl "
            "asks AWS's public parameters for the newest image that fits the processor and the GPU."
        ),
    ),
    "volume-unknown": Known(
        errors.UsageError,
        what="no volume or snapshot of yours is called {volume}",
        why="none in {regions} has that id or name and was made with runctl",
        fix=("  runctl aws ebs list",),
        explain=(
            "Volumes are known by their id (vol-0abc…) or the name they were given, snapshots by theirs. Only those that "
            "`runctl aws ebs` made are seen; the disks of machines come and go with them."
        ),
    ),
    "volume-ambiguous": Known(
        errors.UsageError,
        what="several volumes are called {volume}",
        why="they are {ids}",
        fix=("name one of them by its id", "  runctl aws ebs list"),
        explain="A name is whatever was given with --name; ids are unique.",
    ),
    "volume-attached": Known(
        errors.UsageError,
        what="the volume {volume} is in use",
        why="it is attached to {machine}, and can be on one machine only",
        fix=("  runctl aws ebs detach {volume}",),
        explain=(
            "A volume is attached to one machine at a time, and cannot be deleted while it is. Detaching unmounts it first; "
            "`delete --force` does both."
        ),
    ),
    "volume-free": Known(
        errors.UsageError,
        what="the volume {volume} is on no machine",
        why="its blocks are read by the machine it is attached to",
        fix=("  runctl aws ebs mount {volume} MACHINE /mnt/data",),
        explain="Reading a volume takes a machine in its zone.",
    ),
    "volume-elsewhere": Known(
        errors.UsageError,
        what="the volume {volume} cannot be attached to {machine}",
        why="the volume is in {zone}, the machine in {there}",
        fix=(
            "make a copy of it there, by way of a snapshot:",
            "  runctl aws ebs snapshot {volume}",
            "  runctl aws ebs restore SNAPSHOT --zone {there}",
        ),
        explain="A volume lives in one zone of a region, and only machines of that zone can use it.",
    ),
    "volume-state": Known(
        errors.CapacityError,
        what="{volume} did not become {wanted}",
        why="EC2 says that it is {state}",
        fix=("  runctl aws ebs list", "then repeat the command"),
        explain=(
            "EC2 took the request, and the volume or snapshot was not in the wanted state in time. A volume that was being "
            "made has been deleted again. One that does not let itself be detached is mounted by a machine that hangs."
        ),
    ),
    "cache-volume-busy": Known(
        errors.CapacityError,
        what="the cache volume {volume} is in use",
        why="{machine} has it, and it can be on one machine only",
        fix=(
            "wait for that run, or give this one a cache of its own:",
            "  runctl train SCRIPT --cache-volume=NAME",
        ),
        explain=(
            "A cache volume is never taken from a machine that uses it. The run goes on without it, which costs the time of "
            "downloading packages anew, and nothing else."
        ),
    ),
    "volume-mount": Known(
        errors.AgentError,
        what="the volume {volume} could not be mounted or unmounted on {machine}",
        why="{detail}",
        fix=(
            "see what uses it there:",
            "  runctl exec {machine} -- lsblk --fs",
            "  runctl exec {machine} -- fuser -vm PATH",
        ),
        explain=(
            "Mounting, making a file system and unmounting are commands on the machine, which needs root for them (sudo "
            "without a password). A volume that a program works in cannot be unmounted; end it, or detach with --force."
        ),
    ),
    "image-unknown": Known(
        errors.UsageError,
        what="no image of yours is called {image}",
        why="none in {regions} has that id or name and runctl's tag",
        fix=("  runctl aws ami list",),
        explain=(
            "Images that runctl baked are known by their id (ami-0abc…) or by the name they were given; of several with one "
            "name the newest counts. Images of somebody else can be used with the setting aws.image, and are not managed."
        ),
    ),
    "image-failed": Known(
        errors.CapacityError,
        what="the image {image} did not become available in {region}",
        why="{detail}",
        fix=("try again; the machine was given back, and the image taken back", "  runctl aws ami list"),
        explain=(
            "EC2 copies the disk of the machine into a snapshot, which failed or took longer than an hour. What was begun "
            "has been removed as far as that was possible."
        ),
    ),
    "image-not-shareable": Known(
        errors.UsageError,
        what="the image {image} cannot be shared",
        why="its disk is encrypted with this account's own key, which no other account may use",
        fix=("bake it in the other account:", "  AWS_PROFILE=OTHER runctl aws ami bake SCRIPT"),
        explain=(
            "Machines of runctl have encrypted disks, and an image made of one is encrypted, too. AWS lets no other account "
            "read what is encrypted with an account's default key."
        ),
    ),
    "preset-unknown": Known(
        errors.UsageError,
        what="there is no preset {preset}",
        why="the presets are: {presets}",
        fix=("  runctl aws ami bake --preset cpu-sklearn",),
        explain="A preset is a usual set of packages. An image for exactly your script is baked from the script itself.",
    ),
    "aws-instance-profile": Known(
        errors.UsageError,
        what="the instance profile cannot be used",
        why="{detail}",
        fix=(
            "make it, or name another:",
            "  runctl aws setup",
            "  runctl config set aws.instance_profile NAME",
        ),
        explain=(
            "Machines that runctl buys act with a role, given to them through an instance profile: it lets them read "
            "the code, keep the checkpoints and answer Systems Manager. The profile that the setting "
            "aws.instance_profile names is not there, or was made so recently that EC2 does not know it yet."
        ),
    ),
    "aws-network": Known(
        errors.UsageError,
        what="there is no network for the machine in {region}",
        why="{detail}",
        fix=(
            "make a default one, or name a subnet:",
            "  aws ec2 create-default-vpc --region {region}",
            "  runctl config set aws.subnet subnet-ID",
        ),
        explain=(
            "Without the settings aws.subnet and aws.security_group machines start in the region's default network. "
            "Either the region has none, or a subnet or group was named that is not in it."
        ),
    ),
    "aws-token-reused": Known(
        errors.InternalError,
        what="a purchase was repeated with other parameters",
        why="{detail}",
        fix=("  runctl runs", "report it with the output of the same command and --debug"),
        explain=(
            "Each purchase has a token, so that repeating it after a broken connection gives the same machine and not "
            "a second one. AWS refuses the token when anything else of the request differs. That is a bug in runctl."
        ),
    ),
    "aws-instance-unknown": Known(
        errors.MachineGone,
        what="there is no such instance in {region}",
        why="{detail}",
        fix=(
            "check the region and the account:",
            "  aws ec2 describe-instances --region {region}",
            _WHO_AM_I,
        ),
        explain=(
            "An instance can be seen for about an hour after it was terminated, and only in its own region and "
            "account. Then nobody knows it any more."
        ),
    ),
    "aws-instance-state": Known(
        errors.UsageError,
        what="the instance is not in a state that allows {action}",
        why="{detail}",
        fix=("wait until it has settled, and try again",),
        explain=(
            "Somebody else, or an earlier command, is just starting, stopping or terminating it. An instance that is "
            "terminated cannot be started again."
        ),
    ),
    "aws-spot-cannot-stop": Known(
        errors.UsageError,
        what="a spot instance cannot be stopped",
        why="{detail}",
        fix=("terminate it instead; checkpoints are in the bucket",),
        explain=(
            "runctl buys spot instances with one-time requests, so that nothing starts again behind your back. Those "
            "can run or be terminated, and their disk goes with them. What has to last is kept in the bucket."
        ),
    ),
    "aws-bucket-missing": Known(
        errors.UsageError,
        what="the bucket does not exist",
        why="{detail}",
        fix=("make it, or name another:", "  runctl aws setup", "  runctl config set aws.bucket NAME"),
        explain=(
            "Code, records and checkpoints of runs go through a bucket, runctl-ACCOUNT-REGION unless the setting "
            "aws.bucket names another. There is none of that name in the account that asks."
        ),
    ),
    "aws-bucket-elsewhere": Known(
        errors.UsageError,
        what="the bucket is in another region",
        why="S3 expects {expected}: {detail}",
        fix=("  aws s3api get-bucket-location --bucket NAME", "  runctl config set aws.region REGION"),
        explain=(
            "A bucket lives in one region, and requests have to be signed for it. Data between regions costs money "
            "and time, so runctl does not follow silently: use the bucket's region, or a bucket of yours."
        ),
    ),
    "aws-throttled": Known(
        errors.UnreachableError,
        what="AWS asks for patience",
        why="{action} in {region} was refused for too long: {detail}",
        fix=(
            "wait a minute and run the same command again, or be more patient:",
            "  runctl config set retries.deadline_seconds 300",
        ),
        explain=(
            "Every account may make so many calls a second, shared by all that use it. runctl backs off with growing, "
            "random delays until the time of the setting retries.deadline_seconds is over. `--verbose` shows each "
            "attempt."
        ),
        transient=True,
    ),
    "aws-service-broken": Known(
        errors.UnreachableError,
        what="AWS failed to answer {action}",
        why="{detail}",
        fix=("run the same command again", "see what AWS says about itself: https://health.aws.amazon.com"),
        explain=(
            "The service answered with an error of its own, several times. That passes. What was bought before is "
            "recorded, and the same command goes on where it stopped."
        ),
        transient=True,
    ),
    "aws-unreachable": Known(
        errors.UnreachableError,
        what="AWS cannot be reached for {action}",
        why="{detail}",
        fix=(
            "check the connection, VPN and proxy of this computer, then run the same command again",
            "  runctl runs",
        ),
        explain=(
            "The name could not be resolved, nobody answered, or the connection broke, several times. A run that has "
            "started does not need this computer. If AWS_ENDPOINT_URL is set, that is where runctl asks."
        ),
        transient=True,
    ),
    "aws-tls": Known(
        errors.AccessError,
        what="the certificate of AWS's endpoint cannot be verified",
        why="{detail}",
        fix=(
            "behind a proxy that opens connections, name its certificate:",
            "  export AWS_CA_BUNDLE=/path/to/company-ca.pem",
        ),
        explain=(
            "Something between this computer and AWS shows a certificate that nobody here trusts: most often a "
            "company's proxy, now and then a hotel's login page. runctl never turns the check off."
        ),
    ),
    "aws-proxy": Known(
        errors.UsageError,
        what="the proxy does not let runctl reach AWS",
        why="{detail}",
        fix=("check HTTPS_PROXY, and NO_PROXY for what must not go through it:", "  env | grep -i proxy"),
        explain="The variables HTTPS_PROXY and HTTP_PROXY lead calls through a proxy, and that one does not answer.",
    ),
    "aws-refused": Known(
        errors.UsageError,
        what="AWS refused {action}",
        why="{aws}: {detail}",
        fix=("read the cause: it is in AWS's own words", "repeat the command with --debug"),
        explain=(
            "AWS understood the request and refused it, for a reason runctl has no words of its own for. The code and "
            "the message are AWS's."
        ),
    ),
    "aws-unexpected": Known(
        errors.InternalError,
        what="the call {action} could not be made",
        why="{detail}",
        fix=("report it with the output of the same command and --debug",),
        explain=(
            "The AWS library refused to make the call as runctl asked for it: a parameter it does not know, or a "
            "setting of the AWS configuration files it cannot use. The first is a bug in runctl."
        ),
    ),
    "aws-gpu-unknown": Known(
        errors.UsageError,
        what="no machine there has a GPU called {gpu}",
        why="the GPUs there are: {gpus}",
        fix=("  runctl train --gpu {near} SCRIPT", "or allow other regions with the setting aws.regions"),
        explain=(
            "GPUs are named as their maker does, in any case, with or without the memory: A10G, T4, L4, A100-80GB. "
            "Which ones there are differs between regions, and this one is in none of those that were asked."
        ),
    ),
    "aws-no-type": Known(
        errors.CapacityError,
        what="no type of machine has {need}",
        why="{closest}",
        fix=("ask for less, for another number of GPUs, or in other regions",),
        explain=(
            "CPUs and memory are met at least, the number of GPUs exactly: nobody pays for eight when they asked for "
            "one. Nothing in the regions that were asked fits."
        ),
    ),
    "aws-no-offer": Known(
        errors.CapacityError,
        what="nobody sells {need} {market} in {regions}",
        why="there are such types, but no zone there sells them in that market, or nobody tells their price",
        fix=("allow other regions with the setting aws.regions, or the other market",),
        explain=(
            "A type may be listed for a region and still not be sold in any of its zones, or not as a spot machine. "
            "Without a price nothing is offered: runctl does not buy what it cannot tell the cost of."
        ),
    ),
    "aws-no-image": Known(
        errors.UsageError,
        what="there is no public image for {gpu}",
        why="the drivers in AWS's present images do not support it",
        fix=("name an image of your own that has the driver:", "  runctl config set aws.image ami-ID"),
        explain=(
            "AWS's Deep Learning images carry the open NVIDIA driver, which begins with the T4; older cards (V100, "
            "M60, K80) and those of other makers need an image that somebody has prepared. It needs Python 3.8 or "
            "later and the SSM agent."
        ),
    ),
    "aws-launch-failed": Known(
        errors.CapacityError,
        what="{machine} ended before it ran",
        why="{detail}",
        fix=("try again later, or allow more: other types, zones, regions, the other market",),
        explain=(
            "AWS accepted the purchase and took the machine back before it was up: its hardware failed, or there was "
            "no room after all. Nothing is billed. runctl goes on to the next offer by itself."
        ),
        transient=True,
    ),
    "aws-launch-refused": Known(
        errors.AccessError,
        what="{machine} could not be started, and has ended",
        why="{detail}",
        fix=(
            "most often its disk's key may not be used; see which key encrypts volumes:",
            "  aws ec2 get-ebs-default-kms-key-id",
            "and let whoever owns it allow kms:CreateGrant, kms:Decrypt and kms:GenerateDataKeyWithoutPlaintext",
        ),
        explain=(
            "AWS accepted the purchase, and then could not put the machine together: the account's default key for "
            "volumes is one the caller may not use, or a snapshot of the image is gone. Nothing is billed."
        ),
    ),
    "aws-not-ours": Known(
        errors.UsageError,
        what="{machine} was not made by runctl",
        why="it does not carry the tag runctl:managed",
        fix=("  aws ec2 describe-instances --instance-ids {machine}",),
        explain=(
            "runctl ends and stops only machines that carry its tag, and looks at the tag in that very moment, so "
            "that a mistyped id can harm nobody."
        ),
    ),
    "aws-not-running": Known(
        errors.UsageError,
        what="{machine} is {state}; a run needs one that runs",
        fix=("  aws ec2 start-instances --region {region} --instance-ids {machine}",),
        explain=(
            "A machine that is named with `--machine` has to be running, and to have an instance profile that lets "
            "Systems Manager reach it. One that is terminated cannot be started again."
        ),
    ),
    "aws-id": Known(
        errors.UsageError,
        what="{id} is no instance id",
        why="an id is i- and 17 hexadecimal digits, with @REGION behind it where that matters",
        fix=("  aws ec2 describe-instances",),
        explain="Instances are named by their id, as i-0123456789abcdef0 or i-0123456789abcdef0@us-west-2.",
    ),
    "aws-too-slow": Known(
        errors.UnreachableError,
        what="{machine} is still {state}, {seconds} s after it should become {wanted}",
        fix=(
            "look again in a minute:",
            "  aws ec2 describe-instances --region {region} --instance-ids {machine}",
        ),
        explain=(
            "Instances change their state within seconds, those with large GPUs or much memory within minutes. This "
            "one takes longer than that. What was asked for is on its way and can be asked for again."
        ),
        transient=True,
    ),
    "aws-release-unsure": Known(
        errors.ReleaseOwed,
        what="{machine} may still be billed: nobody saw it end",
        why="{detail}",
        fix=(
            "  runctl clean",
            "or by hand:",
            "  aws ec2 terminate-instances --region {region} --instance-ids {machine}",
        ),
        explain=(
            "The machine was to be terminated, and AWS could not be asked, did not answer, or did not show it ending. "
            "It stands in the ledger until it is seen gone; `runctl clean` tries again. It also ends by itself when "
            "its own deadline passes."
        ),
    ),
    "aws-purchase-unsure": Known(
        errors.ReleaseOwed,
        what="a machine may have been bought in {region}, and nobody can tell",
        why="one request got no answer, and the next one was refused: {detail}",
        fix=(
            "once the cause is gone:",
            "  runctl clean",
            "or look by hand:",
            "  aws ec2 describe-instances --region {region} --filters Name=tag:runctl:managed,Values=true",
        ),
        explain=(
            "The connection broke while a machine was being bought, and when the same purchase was asked for again, "
            "AWS did not let us ask any more: most often because the credentials expired in between. It stands in the "
            "ledger. If there is a machine, it carries the run's tag, and ends by itself when its deadline passes."
        ),
    ),
}
