"""Failures of the way to a host through OpenSSH."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

_TRY = "  ssh {login}"
_DETAIL = "  ssh -v {login} true"

ENTRIES = {
    "ssh-address": Known(
        errors.UsageError,
        what="{address} is no address of an SSH host",
        why="{detail}",
        fix=("write it like this:", "  runctl train train.py --on ssh://user@host:22"),
        explain=(
            "An address is `ssh://[user@]host[:port]`. What is left out is looked up in your SSH configuration, where "
            "the host may also be an alias. Behind a question mark may stand `python=PATH`, the interpreter that runs "
            "the agent, and `home=PATH`, where runctl keeps its files on that machine."
        ),
    ),
    "ssh-not-installed": Known(
        errors.UsageError,
        what="there is no ssh on this computer",
        why="{detail}",
        fix=("install OpenSSH, for example:", "  sudo apt install openssh-client"),
        explain="runctl does not speak SSH itself. It runs the `ssh` that is found on PATH, so that everything you have "
        "configured for it holds.",
    ),
    "ssh-folder": Known(
        errors.AccessError,
        what="connections cannot be kept in {path}",
        why="the folder belongs to somebody else, or others may use it",
        fix=(
            "remove it, or name another place for such files:",
            "  export XDG_RUNTIME_DIR=/run/user/$(id -u)",
        ),
        explain=(
            "The sockets of open SSH connections are kept there, and whoever may use one is logged in as you. So runctl "
            "takes only a folder that is yours alone."
        ),
    ),
    "ssh-denied": Known(
        errors.AccessError,
        what="{host} does not let you in",
        why="{detail}",
        fix=(
            "see which user and which keys are tried:",
            _DETAIL,
            "a key with a passphrase has to be in the agent, since nobody is asked for it here:",
            "  ssh-add",
            "bring your key there:",
            "  ssh-copy-id {login}",
        ),
        explain=(
            "The host answered and refused the login. The user is not the right one, none of the keys that were offered "
            "is in its authorized_keys, or the key is locked with a passphrase and not in an agent. runctl runs ssh in "
            "batch mode: it never asks for a password. Where only a password is allowed, put a key there first."
        ),
    ),
    "ssh-host-key-changed": Known(
        errors.AccessError,
        what="{host} shows another key than the one that is known",
        why="either it was installed anew, or somebody stands between it and you: {detail}",
        fix=(
            "ask whoever runs the host for its fingerprint, and compare; only then forget the old key:",
            "  ssh-keygen -R {known_as}",
            "and see the new one:",
            _TRY,
        ),
        explain=(
            "Nothing was sent to it. A host's key changes when its system is installed anew, or when its address now "
            "belongs to another machine. It also looks like this when somebody intercepts the connection. runctl never "
            "switches the check off."
        ),
    ),
    "ssh-host-key-unknown": Known(
        errors.AccessError,
        what="the key of {host} is not known here",
        why="{detail}",
        fix=("connect once by hand, compare the fingerprint and accept it:", _TRY),
        explain=(
            "The first time you connect to a host, somebody has to say that its key is the right one. runctl does not do "
            "that for you. Connect once with ssh and answer its question, or put the key into known_hosts some other way."
        ),
    ),
    "ssh-name-unknown": Known(
        errors.UnreachableError,
        what="there is no host {host}",
        why="{detail}",
        fix=(
            "see what ssh makes of the name, and whether it is an alias that is not configured here:",
            "  ssh -G {login}",
        ),
        explain=(
            "The name could not be resolved. It is misspelled, it is an alias that stands in another computer's SSH "
            "configuration, or this computer is not in the network (VPN) that knows it."
        ),
    ),
    "ssh-refused": Known(
        errors.UnreachableError,
        what="nothing answers at the SSH port of {host}",
        why="{detail}",
        fix=("see which address and port are tried:", _DETAIL),
        explain=(
            "The machine is there and no SSH server listens at that port: it is booting, the server is down, or the port "
            "is another one. Write it into the address (`ssh://host:2222`) or into your SSH configuration."
        ),
        transient=True,
    ),
    "ssh-timeout": Known(
        errors.UnreachableError,
        what="{host} does not answer",
        why="{detail}",
        fix=("see how far it gets:", _DETAIL),
        explain=(
            "No answer at all came back: the machine is off, a firewall drops what comes from here, the address is not "
            "routed (VPN), or a jump host is missing in your SSH configuration."
        ),
        transient=True,
    ),
    "ssh-closed": Known(
        errors.UnreachableError,
        what="{host} closed the connection before anything was said",
        why="{detail}",
        fix=("try again in a minute; if it stays so, look how far it gets:", _DETAIL),
        explain=(
            "The server took the connection and dropped it. It has too many that are not logged in yet (`MaxStartups`), "
            "it is starting or stopping, a filter refuses your address, or what listens there is no SSH server."
        ),
        transient=True,
    ),
    "ssh-cut": Known(
        errors.UnreachableError,
        what="the connection to {host} was cut",
        why="{detail}",
        fix=("  runctl runs",),
        explain=(
            "The link through which runctl speaks to the machine ended while a command was under way. A run does not "
            "depend on it; who follows one connects again and goes on where the output was."
        ),
        transient=True,
    ),
    "ssh-failed": Known(
        errors.UnreachableError,
        what="ssh cannot reach {host}",
        why="{detail}",
        fix=("see what it says by itself:", _DETAIL),
        explain=(
            "ssh ended with an error that runctl does not know. Its own words are the cause that is shown: often a "
            "mistake in the SSH configuration, a key file that others may read, or a jump host that fails."
        ),
    ),
    "ssh-no-shell": Known(
        errors.AccessError,
        what="{host} runs no commands for you",
        why="{detail}",
        fix=("see what happens instead:", "  ssh {login} true"),
        explain=(
            "The login worked and the command was not run: the account has no shell, or the key is bound to another "
            "command (`command=` in authorized_keys, `ForceCommand` of the server). runctl needs a plain shell."
        ),
    ),
    "ssh-no-python": Known(
        errors.UsageError,
        what="there is no {python} on {host}",
        why="all work on a machine is done by a program in Python 3.8 or later",
        fix=(
            "see which there are:",
            "  ssh {login} 'ls -d /usr/bin/python3* /opt/*/bin/python3 ~/*/bin/python3'",
            "name one in the address:",
            "  runctl train train.py --on '{url}?python=/usr/bin/python3.11'",
        ),
        explain=(
            "The interpreter only runs runctl's own small program; the script's Python comes from its environment. "
            "Any Python from 3.8 on will do, no packages are needed, and it does not have to be on PATH."
        ),
    ),
}
