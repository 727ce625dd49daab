"""Failures of checkpoints."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

ENTRIES = {
    "checkpoint-none": Known(
        errors.UsageError,
        what="{run} has no complete checkpoint to resume from",
        why="found: {incomplete}",
        fix=("  runctl checkpoint list {run}", "start without --resume"),
        explain=(
            "`--resume RUN` takes the newest checkpoint that a format recognises as complete. A file that is still "
            "being written or was cut short does not count. The script has to save into RUNCTL_CHECKPOINT_DIR."
        ),
    ),
    "checkpoint-path-missing": Known(
        errors.UsageError,
        what="no such file or folder: {path}",
        why="a name with a slash, or one that starts with a dot, is taken as a path on this machine",
        fix=("  runctl checkpoint list RUN", "  runctl runs"),
        explain=(
            "`runctl checkpoint` takes a path on this machine or the name of a run. For the checkpoints of a run, name "
            "the run: they lie on its machine, and its agent looks at them there."
        ),
    ),
    "checkpoint-not-found": Known(
        errors.UsageError,
        what="there is no complete checkpoint in {where}",
        why="found: {found}",
        fix=("  runctl checkpoint list {where}", "  runctl checkpoint --help"),
        explain=(
            "A checkpoint counts when one of the known formats (torch, safetensors, npz, pickle and joblib, and folders "
            "with an index) recognises it as complete. A file that is still being written, was cut short, or tells "
            "nothing about where it ends (a compressed pickle, a torch file older than 1.6) does not. "
            "The script has to save into RUNCTL_CHECKPOINT_DIR."
        ),
    ),
    "checkpoint-unknown": Known(
        errors.UsageError,
        what="{where} has no checkpoint {name}",
        fix=("  runctl checkpoint list {where}",),
        explain=(
            "After the run's name and a colon comes the path of one of its checkpoints, as `runctl checkpoint list` "
            "prints it in the last column. Without a colon, `info` describes the newest one."
        ),
    ),
    "checkpoint-damaged": Known(
        errors.ScriptFailed,
        what="{damaged} of {total} checkpoints in {where} are damaged",
        why="{reasons}",
        fix=(
            "  runctl checkpoint list {where}",
            "resume from one that is whole, and delete the damaged ones",
        ),
        explain=(
            "`verify` reads every byte and compares the checksums and sizes that the files themselves state. A file "
            "that ends early was most likely being written when the script ended or the disk was full: write to a "
            "temporary name and rename it, as examples/digits does. A checksum that differs means the bytes changed "
            "after they were written. `runctl train --resume` never picks a file whose structure is damaged."
        ),
    ),
    "resume-needs-run": Known(
        errors.UsageError,
        what="a new machine cannot resume from {path}",
        why="it can only reach what is in the store, and that is the checkpoints of runs that had one",
        fix=("  runctl runs --all", "  runctl train SCRIPT --on aws --resume RUN"),
        explain=(
            "A machine that is bought for a run reads its checkpoint from the store. A path on this or another machine, "
            "or a run that ran without a store, is out of its reach. Name a run that ran there."
        ),
    ),
    "checkpoint-torn": Known(
        errors.AgentError,
        what="{path} did not arrive as it was stored",
        why="its SHA-256 differs from the one that the machine recorded in {where}",
        fix=("run the same command again", "  runctl checkpoint list RUN"),
        explain=(
            "Every file of a checkpoint is recorded with its digest when the machine stores it, and compared when it is "
            "fetched. This one differs: it was changed in the bucket, or on its way. Nothing of it was kept here; an "
            "older checkpoint may be whole."
        ),
        transient=True,
    ),
}
