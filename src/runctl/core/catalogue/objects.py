"""Failures of copying files and objects: ``runctl s3`` and ``runctl transfer``."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

ENTRIES = {
    "objects-none": Known(
        errors.UsageError,
        what="nothing is at {place}",
        why="{detail}",
        fix=("  {look}",),
        explain=(
            "The source of a copy is a file, a folder with files, an object, or objects below a prefix. Names in a "
            "bucket distinguish capital letters, and a prefix ends with a whole part of the name: `s3://bucket/data` "
            "means the object `data` or what lies below `data/`, not `database/`."
        ),
    ),
    "objects-ends": Known(
        errors.UsageError,
        what="{verb} copies {way}",
        why="{detail}",
        fix=(
            "  runctl s3 upload PATH s3://BUCKET/PREFIX",
            "  runctl s3 download s3://BUCKET/PREFIX PATH",
            "  runctl transfer PATH MACHINE:PATH",
        ),
        explain=(
            "`upload` goes from this computer to a bucket, `download` from a bucket to this computer, `sync` between "
            "a folder and a bucket, or two buckets. An address begins with s3:// (or file:// for a store in a "
            "folder); everything else is a path here."
        ),
    ),
    "objects-pattern": Known(
        errors.UsageError,
        what="no pattern: {pattern}",
        why="it can match nothing",
        fix=("write it as in a .gitignore: `*.pt`, `logs/`, `/data/*.csv`",),
        explain=(
            "--include and --exclude take the patterns of a .gitignore, without its `!`: the two options say which way "
            "a pattern counts, and the last one that matches decides."
        ),
    ),
    "objects-disk": Known(
        errors.AccessError,
        what="cannot go on at {path}",
        why="{detail}",
        fix=("  df -h", "then the same command again: what has arrived stays"),
        explain=(
            "This computer's disk could not be written or read: full, over a quota, or failing. Files that had "
            "arrived are complete and stay; of the others a part may lie beside them as NAME.part, with which the "
            "same command goes on."
        ),
    ),
}
