"""Failures of container engines and images."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

ENTRIES = {
    "container-engine-missing": Known(
        errors.InstallError,
        what="the machine has no container engine that answers",
        why="{detail}",
        fix=(
            "install docker or podman there and start it, or run without --image",
            "  sudo apt-get install podman",
        ),
        explain=(
            "A run with an image needs docker or podman on its machine, usable by the user that runctl works as. Docker "
            "is asked first; it answers only when its daemon runs and the user may speak to it (the group docker). "
            "A machine that is there is asked before anything is sent; one that is bought, when it has started."
        ),
    ),
    "image-deps": Known(
        errors.UsageError,
        what="an image and --deps background cannot go together",
        why="{image} brings all packages: nothing is installed that the script could start before",
        fix=("leave out --deps background, or --image",),
        explain=(
            "With an image, runctl installs nothing: what the script imports has to be in the image. `deps` may come "
            "from a configuration file; `runctl config show --origin` says from which."
        ),
    ),
    "image-missing": Known(
        errors.InstallError,
        what="there is no image {image}",
        why="{detail}",
        fix=("correct the name or the tag; a name without a registry means docker.io",),
        explain="The registry answered that it has no such repository, tag or digest. The script was not started.",
    ),
    "image-refused": Known(
        errors.InstallError,
        what="the registry does not give {image} to this machine",
        why="{detail}",
        fix=(
            "log in on the machine, as the user that runctl works as; for ECR, let the machine's role pull it",
            "  runctl aws setup --dry-run",
        ),
        explain=(
            "The registry wants to know who asks, or does not allow it to this one. Many registries say the same of an "
            "image that does not exist, so look at the name as well. The script was not started."
        ),
    ),
    "image-network": Known(
        errors.InstallError,
        what="the registry of {image} cannot be reached from the machine",
        why="{detail}",
        fix=("see that the machine reaches the registry, then run the same command again",),
        transient=True,
        explain=(
            "The pull was tried three times, some seconds apart, and failed each time on the way to the registry. What "
            "had arrived of the image is kept by the engine. The script was not started."
        ),
    ),
    "image-not-pulled": Known(
        errors.InstallError,
        what="{image} could not be pulled",
        why="{detail}",
        fix=("pull it by hand on the machine to see all that its engine says",),
        explain="The container engine failed in a way runctl has no name for; its last words stand under why.",
    ),
    "container-not-started": Known(
        errors.InstallError,
        what="the container of {image} did not start",
        why="{detail}",
        fix=("the image needs a python3 on its PATH; the run's output has all that the engine said",),
        explain=(
            "The image is there, but its engine could not start python3 in it: there is none, it is for another "
            "processor, or the engine lacks something on this machine (a GPU runtime, a right)."
        ),
    ),
    "container-tool-missing": Known(
        errors.InstallError,
        what="this computer has no container engine that answers",
        why="{detail}",
        fix=("install docker or podman here and start it", "  sudo apt-get install podman"),
        explain=(
            "Images are built and pushed by docker or podman on this computer, usable by you. Docker is asked first; it "
            "answers only when its daemon runs and you may speak to it (the group docker)."
        ),
    ),
    "dockerfile-unreadable": Known(
        errors.UsageError,
        what="cannot read the Dockerfile {path}",
        why="{detail}",
        fix=("correct the path, or leave out --file to have one made", "  runctl docker build --print"),
        explain="The path given by `--file` is taken relative to the current folder.",
    ),
    "dockerfile-nothing": Known(
        errors.UsageError,
        what="nothing in {root} says what an image needs",
        why="no Dockerfile, and {why}",
        fix=(
            "write a Dockerfile or a requirements.txt there, or name the script with inline metadata",
            "  runctl docker build train.py",
        ),
        explain=(
            "Without a Dockerfile or Containerfile at the project's root, one is made from the project's dependencies: "
            "inline metadata of the script that is named, uv.lock, pyproject.toml or requirements.txt."
        ),
    ),
    "dockerfile-not-made": Known(
        errors.UsageError,
        what="no Dockerfile can be made from {path}",
        why="{detail}",
        fix=("write a Dockerfile at the project's root",),
        explain="A Dockerfile that is made installs packages from a list that can be read, with nothing secret in it.",
    ),
    "dockerfile-python": Known(
        errors.UsageError,
        what="no Python image is known that fits {python}",
        fix=("name an image to begin with", "  runctl docker build --base python:3.12"),
        explain="Official images of Python 3.9 to 3.14 are chosen from, by requires-python, .python-version and `python`.",
    ),
    "image-not-built": Known(
        errors.InstallError,
        what="{image} was not built",
        why="{detail}",
        fix=("mend what the engine says; `runctl docker build --print` shows the Dockerfile",),
        explain="The engine's last lines stand under why, all of them above. No tag has changed.",
    ),
    "image-not-here": Known(
        errors.UsageError,
        what="there is no image {image} on this computer",
        why="{engine} does not know it",
        fix=("build it first, or correct the name", "  runctl docker build"),
        explain="Images of docker and podman are not shared: it has to be with the engine that runctl found.",
    ),
    "registry-missing": Known(
        errors.UsageError,
        what="{image} names no registry to push to",
        why="an image that has only a name is this computer's own",
        fix=(
            "say where it goes: a registry, a repository, or ecr for that of your AWS account",
            "  runctl docker push --to ecr",
        ),
        explain=(
            "The first part of an image's name is its registry when it has a dot or a colon in it, as in "
            "ghcr.io/lab/train:3. To push to Docker's own, name docker.io."
        ),
    ),
    "image-push-refused": Known(
        errors.AccessError,
        what="the registry does not let you push {image}",
        why="{detail}",
        fix=("log in with the engine's own login, or see that you may push there",),
        explain=(
            "The registry wants to know who pushes, or does not allow it. For ECR the login is made from your AWS "
            "credentials; others are the engine's own, by `docker login` or `podman login`."
        ),
    ),
    "image-push-network": Known(
        errors.UnreachableError,
        what="the registry of {image} cannot be reached",
        why="{detail}",
        fix=("see that the registry answers, then push again: layers that arrived are not sent twice",),
        transient=True,
        explain="The engine gave up on its way to the registry. No tag has changed there.",
    ),
    "image-not-pushed": Known(
        errors.InstallError,
        what="{image} was not pushed",
        why="{detail}",
        fix=("push it with the engine itself to see all that it says",),
        explain="The engine failed in a way runctl has no name for; its last words stand under why.",
    ),
}
