"""Failures of the user's directory: root, script, files."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

ENTRIES = {
    "script-not-found": Known(
        errors.UsageError,
        what="no such script: {script}",
        why="looked in {looked_in}",
        fix=("did you mean {near}?", "  runctl project --files"),
        explain=(
            "The path is taken relative to the directory you are in, then relative to the project root. "
            "`runctl project` shows which root was chosen and why."
        ),
    ),
    "file-changed": Known(
        errors.UsageError,
        what="{path} changed between the plan and the sending",
        why="its content no longer has the digest the plan recorded",
        fix=(
            "run the command again when nothing writes to the file",
            "exclude it if the script writes it: exclude in .runctl.toml",
        ),
        explain=(
            "The tree on the machine has to equal the plan byte for byte, so a file that changes while it is sent "
            "stops the run before it starts. Outputs of a script do not belong into the tree: add them to .gitignore "
            "or .runctlignore."
        ),
        transient=True,
    ),
    "root-not-found": Known(
        errors.UsageError,
        what="no such folder to use as the project root: {path}",
        why="the path does not exist or is not a folder",
        fix=("  runctl project",),
        explain=(
            "A project root given by hand has to be an existing folder. Without one, runctl searches upwards from the "
            "script; `runctl project` shows which root it finds and why."
        ),
    ),
    "script-link-broken": Known(
        errors.UsageError,
        what="{script} is a link that leads nowhere",
        why="it points to {target}, which does not exist",
        fix=("  ls -l {script}",),
        explain=(
            "The script's path is a symbolic link whose target is missing: it was moved or deleted, or a disk is not "
            "mounted. Make the link anew or name the script's real path."
        ),
    ),
    "script-is-folder": Known(
        errors.UsageError,
        what="{script} is a folder, not a script",
        why="a script is one file",
        fix=("name a file, such as train.py",),
        explain=(
            "`runctl train` runs one file. For a package with a `__main__.py`, name that file: "
            "`runctl train package/__main__.py`. The working directory of the run is the project root."
        ),
    ),
    "script-not-python": Known(
        errors.UsageError,
        what="{script} is not a Python script",
        why="{detail}",
        fix=(
            "give the file the suffix .py",
            "start another program from a small Python script with subprocess",
        ),
        explain=(
            "A script is run by the Python of the environment that runctl builds, so it has to be Python: a file "
            "ending in .py or .pyw, or one whose first line starts Python (`#!/usr/bin/env python3`). A shell script "
            "or a notebook would fail there with a syntax error after all the work was done; turn a notebook into a "
            "script with `jupyter nbconvert --to script`."
        ),
    ),
    "script-unreadable": Known(
        errors.UsageError,
        what="cannot read {script}",
        why="{detail}",
        fix=("  ls -l {script}",),
        explain=(
            "The script is there but may not be read by you, or one of the folders on its way may not be entered. "
            "Change its permissions (`chmod u+r`), or ask its owner."
        ),
    ),
    "script-outside-root": Known(
        errors.UsageError,
        what="{script} is not inside the project {root}",
        why="it lies in {folder}",
        fix=("leave the root out: runctl finds the script's own project", "  runctl project"),
        explain=(
            "A project root was named, and the script lies outside of it, so no path inside the project leads to it. "
            "Without a named root, runctl takes the project around the script."
        ),
    ),
    "script-ignored": Known(
        errors.UsageError,
        what="{script} would not travel",
        why="it is left out by {rule}",
        fix=("  runctl project --why {script}",),
        explain=(
            "The script exists, but a rule keeps it here: an ignore file, `exclude`, the table of things that never "
            "make sense on another machine, or because it looks like a secret. The error names the rule and where it "
            "stands. Change the rule, or bring the file back with `include` in .runctl.toml. `runctl project --why "
            "PATH` explains any path."
        ),
    ),
    "path-outside-project": Known(
        errors.UsageError,
        what="{path} is not inside the project {root}",
        why="only what lies in the project can travel",
        fix=("  runctl project",),
        explain=(
            "`runctl project --why` explains paths of one project, relative to the folder you are in or to the "
            "project root. This one leads out of it. What a script needs has to lie in its project, or be there "
            "already on the machine."
        ),
    ),
    "project-unreadable": Known(
        errors.UsageError,
        what="cannot read {path}{more}",
        why="{detail}",
        fix=(
            "change the permissions, or leave it out with a line in .runctlignore",
            "  runctl project",
        ),
        explain=(
            "A file that belongs to the project, a folder of it, or an ignore file cannot be read. Sending the rest "
            "would run other code than you see, so nothing starts. Make it readable, or leave it out with "
            ".runctlignore or `exclude`."
        ),
    ),
    "file-changing": Known(
        errors.UsageError,
        what="{path} changes while it is read",
        why="its size or times were different after each of three readings, or it disappeared",
        fix=(
            "run the command again when nothing writes to the file",
            "leave it out with a line in .runctlignore",
        ),
        explain=(
            "The snapshot needs the file's content at one moment, and some program keeps writing to it. Logs, "
            "databases and outputs do not belong into the tree: add them to .gitignore or .runctlignore."
        ),
        transient=True,
    ),
}
