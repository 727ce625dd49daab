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
        fix=("log in on the machine, as the user that runctl works as",),
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
}
