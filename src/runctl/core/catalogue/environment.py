"""Failures of dependencies and their installation."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

ENTRIES = {
    "script-metadata-invalid": Known(
        errors.UsageError,
        what="{script}:{line}: the inline metadata cannot be read",
        why="{detail}",
        fix=(
            "a block looks like this, every line starting with a hash:",
            "  # /// script",
            '  # dependencies = ["numpy"]',
            "  # ///",
        ),
        explain=(
            "The script carries its dependencies itself (PEP 723), in a comment block that runctl reads before anything "
            "else. The block was found but is not complete, stands there twice, or is not TOML. Nothing was started. "
            "Correct the line named, or remove the block to use the project's files instead."
        ),
    ),
    "pyproject-invalid": Known(
        errors.UsageError,
        what="{path}:{line}: cannot be read as a project file",
        why="{detail}",
        fix=("correct that line of {path}",),
        explain=(
            "pyproject.toml (or uv.lock) decides what is installed for the run, and it is not valid TOML, or a "
            "value in its [project] table has the wrong type. Nothing was started. The line is where the reader "
            "stopped; the mistake may be just above it."
        ),
    ),
    "requirements-missing": Known(
        errors.UsageError,
        what="{path}:{line}: {target} does not exist",
        why="the line includes a file that is not in the project",
        fix=("create {target}, or correct line {line} of {path}",),
        explain=(
            "A requirements file may include others (-r) and constraints (-c); every one of them travels with the "
            "project, so each has to be there. Paths are taken relative to the file that names them."
        ),
    ),
    "requirements-outside": Known(
        errors.UsageError,
        what="{path}:{line}: {target} is outside the project",
        why="only files below {root} travel to the machine",
        fix=("move it into the project, or name the packages in {path} itself",),
        explain=(
            "An included requirements file, constraint file or local package lies outside the project root, so that "
            "the machine could never see it. `runctl project` shows which root was chosen and why; a `.runctl.toml` "
            "in a folder further up makes that folder the root."
        ),
    ),
    "requirements-not-sent": Known(
        errors.UsageError,
        what="{target} decides what is installed, but it does not travel to the machine",
        why="{path} needs it, and an ignore rule leaves it out",
        fix=("  runctl project --why {target}",),
        explain=(
            "The files that decide the environment are read on the machine, from the code that was sent. This one is "
            "left out by an ignore rule; name it in the include patterns of the project's configuration."
        ),
    ),
    "requirements-invalid": Known(
        errors.UsageError,
        what="{source}: a requirement cannot be read",
        why="{reason}",
        fix=("correct the line named above in {source}",),
        explain=(
            "A line of the dependency list is neither a requirement (name, extras, version, marker), an option of the "
            "installer, nor a path. Some of these runctl sees before anything starts, others only the installer can "
            "judge; its own words are shown."
        ),
    ),
    "requires-python-invalid": Known(
        errors.UsageError,
        what="the Python requirement {specifier!r} cannot be read",
        why="it is not a version specifier such as >=3.11,<3.14",
        fix=("correct requires-python in the script's metadata or in pyproject.toml",),
        explain=(
            "requires-python decides which Python the environment is made from. It takes comparisons separated by "
            "commas; a bare version is not one (write ==3.11.* or >=3.11)."
        ),
    ),
    "python-missing": Known(
        errors.InstallError,
        what="no Python on this machine satisfies {wanted}",
        why="found: {found}",
        fix=(
            "install one on the machine, for example:",
            "  uv python install '{wanted}'",
            "or widen requires-python (or .python-version) of the project",
        ),
        explain=(
            "The project asks for a Python version by requires-python or .python-version. The machine's python3, the "
            "interpreters on its PATH and those managed by uv were looked at, and none fits. Nothing is downloaded "
            "unless UV_PYTHON_DOWNLOADS=automatic is set on the machine."
        ),
    ),
    "python-unsuitable": Known(
        errors.InstallError,
        what="a package does not support Python {python}",
        why="{reason}",
        fix=(
            "set requires-python to a range the package supports, or choose another version of it",
            "log: {log}",
        ),
        explain=(
            "The environment's Python was chosen by requires-python, and a package (or the lock file) says that it "
            "does not work with it. Narrow requires-python, or loosen the pin of that package."
        ),
    ),
    "venv-unavailable": Known(
        errors.InstallError,
        what="{python} cannot make a virtual environment with pip",
        why="{detail}",
        fix=(
            "on Debian and Ubuntu, on the machine:",
            "  sudo apt-get install -y python3-venv python3-pip",
            "or install uv there, which needs neither",
        ),
        explain=(
            "Some distributions ship Python without ensurepip, so that `python3 -m venv` leaves no pip behind. Install "
            "the package named, or uv; then run the same command again."
        ),
    ),
    "resolution-impossible": Known(
        errors.InstallError,
        what="the requirements of {source} cannot be satisfied together",
        why="{reason}",
        fix=("loosen one of the versions named above in {source}", "log on the machine: {log}"),
        explain=(
            "The installer looked for versions that satisfy every requirement at once and found none: two packages "
            "ask for different versions of a third, or a pinned version does not exist. The text is the installer's "
            "own. Nothing was installed and the script was not started."
        ),
    ),
    "package-not-found": Known(
        errors.InstallError,
        what="no package {package} on the index",
        why="{reason}",
        fix=(
            "check the spelling in {source}; the name to install can differ from the name to import",
            "a private index is named in pip's or uv's configuration of the machine",
            "log on the machine: {log}",
        ),
        explain=(
            "The index knows no package of this name, or none for this Python and platform. The import name and the "
            "package name often differ (cv2 is opencv-python, sklearn is scikit-learn). A package of your own index "
            "needs that index in the machine's pip or uv configuration."
        ),
    ),
    "build-failed": Known(
        errors.InstallError,
        what="{package} could not be built",
        why="{reason}",
        fix=(
            "choose a version of it that has a wheel for Python {python}, or install what its build asks for",
            "log on the machine: {log}",
        ),
        explain=(
            "There is no wheel of this package for the machine's Python and platform, so the installer tried to build "
            "it from source and the build failed. Usually a compiler or a library is missing, or the Python is newer "
            "than the package; another requires-python or another version often has a wheel."
        ),
    ),
    "hash-mismatch": Known(
        errors.InstallError,
        what="a downloaded package is not what its hash says: {package}",
        why="{reason}",
        fix=(
            "if the hashes are yours, renew the lock or the --hash lines in {source}",
            "otherwise do not install it: the file on the index was changed",
        ),
        explain=(
            "The bytes that arrived do not have the SHA-256 that the lock file, the requirements or the index "
            "promised. Either the file was replaced on the index, or a proxy altered it, or the hash is old. Nothing "
            "of it was installed."
        ),
    ),
    "index-unreachable": Known(
        errors.InstallError,
        what="the package index cannot be reached from the machine",
        why="{reason}",
        fix=(
            "  runctl train --deps skip SCRIPT",
            "or check the network, the proxy and the index in pip's or uv's configuration of the machine",
            "log on the machine: {log}",
        ),
        explain=(
            "The installer could not talk to the index: no route, no name, a refused or broken connection, or a server "
            "that answers with an error. What is worth it was tried three times. Complete downloads are kept in the "
            "installer's cache, so the next try goes on from there."
        ),
        transient=True,
    ),
    "env-unknown": Known(
        errors.UsageError,
        what="no environment {key} in {where}",
        why="no key there begins like that",
        fix=("  runctl env list", "  runctl env list --store"),
        explain=(
            "An environment is named by its key, 32 hex digits, or by as many of them as tell it apart. Only complete "
            "ones count: one that is being built, or whose building was interrupted, has no name yet."
        ),
    ),
    "env-ambiguous": Known(
        errors.UsageError,
        what="more than one environment begins with {key}",
        why="{keys}",
        fix=("give more of its digits",),
        explain="The beginning of a key is enough where it belongs to one environment only.",
    ),
    "conda-environment": Known(
        errors.UsageError,
        what="{path} is an environment of conda, which runctl does not install",
        why="there is no requirements.txt, pyproject.toml, uv.lock or inline metadata beside the script or above it",
        fix=(
            "write down what the conda environment has of Python packages, and keep what conda alone has on the machine:",
            "  conda run -n NAME pip list --format=freeze > requirements.txt",
            "or use what the machine's own Python has:",
            "  runctl train SCRIPT --deps skip",
        ),
        explain=(
            "runctl installs Python packages with uv or pip, on any machine and without root. Packages that only conda has "
            "(compilers, CUDA libraries, R) would need conda itself there, and another index, resolver and lock. Most of what "
            "trains is on PyPI, CUDA libraries included. Where a requirements.txt is there too, that one decides, and the "
            "file of conda is not looked at."
        ),
    ),
    "env-nothing": Known(
        errors.UsageError,
        what="{script} needs no environment",
        why="{why}",
        fix=("run it: nothing has to be installed", "  runctl train {script}"),
        explain=(
            "An environment is built from inline metadata in the script, a uv.lock, a pyproject.toml or a "
            "requirements.txt, beside the script or above it. None of them asks for a package here."
        ),
    ),
    "env-untried": Known(
        errors.InstallError,
        what="nothing of the environment {key} can be imported",
        why="{packages} packages are installed, and not one of their modules, extensions or entry points works",
        fix=(
            "look at what is wrong with it on a machine that you can try:",
            "  runctl env build SCRIPT --on TARGET",
        ),
        explain=(
            "Before an image is made of an environment, what its packages offer is imported once. Nothing worked, so no "
            "image was made, and the machine was given back."
        ),
    ),
    "env-limit": Known(
        errors.UsageError,
        what="{text} is not a limit for environments",
        why="{detail}",
        fix=("  runctl env prune --older-than 30d --max-size 20GB",),
        explain=(
            "What goes is decided by an age (environments not used for so long) and by a size (the longest unused ones, "
            "until the rest takes no more than that). At least one is needed here; a store can be pruned without, of "
            "parts that belong to no environment."
        ),
    ),
    "env-no-store": Known(
        errors.UsageError,
        what="the target {target} has no store",
        why="its machines keep environments on their own disks only",
        fix=("name one, for example: --store s3://BUCKET/PREFIX",),
        explain="Environments are shared through the store of an account, or a folder that computers share.",
    ),
    "env-not-stored": Known(
        errors.InstallError,
        what="the environment {key} cannot be stored",
        why="{reason}",
        fix=(
            "build it anew:",
            "  runctl env prune --older-than 0d",
            "or install it on each machine, as before",
        ),
        explain=(
            "Only what is the same on another machine is stored: not one with links or path entries that lead to other "
            "folders (editable installs), with passwords in its files, or with files changed after it was built."
        ),
    ),
    "env-not-restored": Known(
        errors.InstallError,
        what="the environment {key} cannot be restored here",
        why="{reason}",
        fix=("  runctl env show {key} --store", "a run builds it instead"),
        explain=(
            "An environment of the store is verified part by part and tried out before it is used. It belongs to one "
            "version of Python, one system and one C library. Nothing of it stays when something is wrong."
        ),
    ),
    "install-failed": Known(
        errors.InstallError,
        what="{installer} could not install {source}",
        why="{reason}",
        fix=("read the whole log on the machine: {log}",),
        explain=(
            "The installer failed for a reason runctl does not know; its last words are shown. The whole output is in "
            "the log on the machine and, line by line, in the run's events. Nothing half-installed is ever used: the "
            "next run builds the environment anew."
        ),
    ),
}
