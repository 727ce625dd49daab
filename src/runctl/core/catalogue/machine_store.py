"""Failures a machine meets at the store: it reads code, data and checkpoints there, and writes what a run leaves."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

ENTRIES = {
    "store-missing": Known(
        errors.AgentError,
        what="the store lacks {key}",
        why="it was deleted from {url}, or never arrived there",
        fix=("run the same command again: what is missing is sent anew",),
        explain=(
            "Code, packs of files and records are objects below the store's prefix. This one is not there: somebody or "
            "a lifecycle rule removed it, or the store is another one than when it was written."
        ),
        transient=True,
    ),
    "store-changed": Known(
        errors.AgentError,
        what="{key} was replaced in the store while it was read",
        why="somebody else writes to {url}",
        fix=("run the same command again",),
        explain=(
            "A transfer that breaks is continued from where it broke, but only while the object is still the same. It "
            "was overwritten in between, so what had arrived was thrown away rather than mixed with the new bytes."
        ),
        transient=True,
    ),
    "store-corrupt": Known(
        errors.AgentError,
        what="{key} arrived from the store with the wrong content",
        why="{detail}",
        fix=("run the same command again",),
        explain=(
            "What comes from a store is compared with the checksum that was recorded when it was written. They differ, "
            "so nothing of it was kept. If it happens again, the object in the store is damaged."
        ),
        transient=True,
    ),
    "zstd-missing": Known(
        errors.AgentError,
        what="the machine cannot unpack what is in the store: it has no Zstandard",
        why="it was sent for a machine that has",
        fix=("install the library there:", "  apt-get install libzstd1", "or run the same command again"),
        explain=(
            "Files travel compressed with Zstandard where the machine that is meant has said that it knows it, else with "
            "zlib, which every Python has. This machine was given what had been sent for another one."
        ),
    ),
    "tree-object": Known(
        errors.AgentError,
        what="what the store says about the project's files cannot be understood",
        why="{detail}",
        fix=("run the same command again",),
        explain=(
            "The list of a project's files and of where their contents lie is one object of the store. It is damaged, "
            "or was written by a version of runctl that this one does not know. Remove it there (its name begins with "
            "`trees/`); the next command writes it anew."
        ),
    ),
    "store-unreachable": Known(
        errors.UnreachableError,
        what="the machine cannot reach {host}",
        why="{detail}",
        fix=(
            "see whether the machine's subnet has a way out: a public address, a NAT gateway, or an endpoint for S3",
            "see whether its security group lets TCP port 443 out",
        ),
        explain=(
            "The machine asked the store or its own metadata service several times, with growing pauses, and had no "
            "usable answer. While a run goes on this does not disturb it: what it writes is kept on the machine's disk "
            "and stored once the way is open again."
        ),
        transient=True,
    ),
    "store-denied": Known(
        errors.AccessError,
        what="the machine's role may not {action} {key} in {url}",
        why="{detail}",
        fix=(
            "let the role of the instance profile read, write and list below that address",
            "or, for data that is only read:",
            "  runctl aws setup --data s3://BUCKET/PREFIX",
        ),
        explain=(
            "A machine reaches the store with the role of its instance profile, and S3 refused that role. It needs "
            "s3:GetObject, s3:PutObject and s3:AbortMultipartUpload on the objects below the store's prefix and "
            "s3:ListBucket on the bucket; with a bucket encrypted by a key of your own also kms:Decrypt and "
            "kms:GenerateDataKey on that key."
        ),
    ),
    "store-refused": Known(
        errors.AgentError,
        what="S3 refused to {action} {key} in {url}",
        why="{detail}",
        fix=("see S3's words above",),
        explain=(
            "The store gave an answer that trying again will not change. The words and the code are S3's own; its "
            "reference lists them."
        ),
    ),
    "store-no-bucket": Known(
        errors.AgentError,
        what="there is no bucket for {url}",
        why="{detail}",
        fix=("see whether its name is right, and whether somebody deleted it",),
        explain="The bucket a machine was told to use does not exist, or not any more.",
    ),
    "store-no-credentials": Known(
        errors.AccessError,
        what="the machine has no credentials for the store",
        why="{detail}",
        fix=("give the instance a profile whose role may use the bucket",),
        explain=(
            "A machine takes its credentials from AWS_ACCESS_KEY_ID in its environment or, on EC2, from the role of its "
            "instance profile through the metadata service. It found neither. A profile that was attached a moment ago "
            "may take some seconds to be seen."
        ),
    ),
    "store-file-changed": Known(
        errors.AgentError,
        what="a file kept changing while it was stored",
        why="{detail}",
        fix=("write it under another name and rename it once it is complete",),
        explain=(
            "Every piece is compared with the digest computed a moment before it was sent. They differed each time, so "
            "something writes into the file. Nothing of it was stored under its name."
        ),
        transient=True,
    ),
    "boot-store": Known(
        errors.UsageError,
        what="a machine that is bought cannot begin from a store of kind {kind}",
        why="it reads its agent and its code before anything else can reach it",
        fix=("use a bucket:", "  runctl config set aws.bucket NAME"),
        explain=(
            "A bought machine begins by itself, from what lies in the store. A folder of this computer is out of its "
            "reach, a bucket is not."
        ),
    ),
    "lease-not-armed": Known(
        errors.AccessError,
        what="the machine cannot be told to shut itself down",
        why="{detail}",
        fix=("see that the agent runs as root there, and that `shutdown` exists",),
        explain=(
            "A machine one buys shuts itself down unless its deadline is moved forward, so that nothing is paid for "
            "when everything else fails. That needs root and the system's `shutdown`."
        ),
    ),
    "checkpoint-not-stored": Known(
        errors.UsageError,
        what="the store has no complete checkpoint {key}",
        why="the list of checkpoints beside it does not name it in {url}",
        fix=("  runctl checkpoint list RUN",),
        explain=(
            "A checkpoint in the store counts once all of its files are there and the attempt's checkpoints.json names "
            "it. This one was never complete, or belongs to another attempt."
        ),
    ),
    "data-missing": Known(
        errors.UsageError,
        what="there is no data at {url}",
        why="no object has that address or begins with it",
        fix=("see how it is spelled:", "  aws s3 ls {url}"),
        explain="`--data` takes the address of an object or of a folder of objects. Nothing was found there.",
    ),
    "data-unsafe": Known(
        errors.UsageError,
        what="the data at {url} cannot become files",
        why="{key}: {detail}",
        fix=("rename or remove that object",),
        explain=(
            "Keys of objects become paths on the machine. One of them would lead out of its folder, or is both a file "
            "and a folder, so nothing was fetched."
        ),
    ),
    "secrets-missing": Known(
        errors.UsageError,
        what="nobody gave the values of {names} to the machine",
        why="it waited {seconds} s for them, with all else ready",
        fix=("run the same command again, and leave it running until the script has started",),
        explain=(
            "Values of secret variables stand in no file and in no store: the client hands them to the machine once "
            "it is up. It ended, or lost the way to the machine, before it had done so."
        ),
    ),
    "output-not-stored": Known(
        errors.AgentError,
        what="what {run} left is not at {address}",
        why="{detail}",
        fix=("it is still on the machine; copy it from there:", "  runctl transfer {run}:{path} {address}"),
        explain=(
            "The script ended well; what it wrote to RUNCTL_OUTPUT_DIR could not be copied to where `--output` says, so "
            "the run counts as failed. Files that are there already are whole. The machine needs credentials that may "
            "write there, as for `--data`."
        ),
    ),
    "data-names": Known(
        errors.UsageError,
        what="two sets of data would both be called {name}",
        why="each is a folder of RUNCTL_DATA_DIR, named by the last part of its address",
        fix=("name the folder above both, or only one of them",),
        explain=(
            "`--data s3://one/train --data s3://two/train` would be one folder twice. Nothing was fetched and nothing "
            "was started."
        ),
    ),
}
