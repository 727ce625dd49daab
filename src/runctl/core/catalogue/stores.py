"""Failures of a store as this computer sees it; ``machine_store`` has those that a machine may meet, too."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

ENTRIES = {
    "store-url": Known(
        errors.UsageError,
        what="not the address of a store: {url}",
        why="{detail}",
        fix=("  s3://BUCKET/PREFIX", "  file:///FOLDER"),
        explain=(
            "A store is where code, runs and checkpoints are kept outside of machines: a bucket, or a folder by its "
            "absolute path."
        ),
    ),
    "store-key": Known(
        errors.UsageError,
        what="a store in a folder cannot have an object {key}",
        why="its name would leave {url}, or mean that folder's own files",
        fix=("rename it: no empty part, no `.` or `..`, no NUL",),
        explain=(
            "An object of a store in a folder is a file below that folder, so its name has to be a plain relative path. "
            "Names that would lead elsewhere are refused, also when they come out of somebody else's listing."
        ),
    ),
    "store-unwritable": Known(
        errors.AccessError,
        what="cannot write {key} to {url}",
        why="{detail}",
        fix=("see who owns the folder and whether its disk is full or mounted read-only",),
        explain=(
            "The store refused an object. In a folder this is the operating system's word: no permission, no space, "
            "a file where a folder is needed. Nothing half-written was left."
        ),
    ),
    "store-unreadable": Known(
        errors.AccessError,
        what="cannot read {key} in {url}",
        why="{detail}",
        fix=("see who owns the folder",),
        explain="The operating system does not let runctl read an object of a store in a folder.",
    ),
}
