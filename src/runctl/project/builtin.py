"""What stays on the laptop without anybody asking: one table of exclusions and one of secrets, each with its reason.

Order of say, strongest first: ``exclude`` of the configuration, ``include`` of the configuration, ``.runctlignore``,
tracked by git, ``.gitignore`` and git's other exclude files, then the table here. An entry of this table gives way
only to a rule that *names* the path: ``!checkpoints/`` does, ``!*/`` does not; ``include = ["data/"]`` brings the
folder, not the caches in it.
"""

from __future__ import annotations

import re
from typing import Final

from runctl.project.ignore import RuleSet, from_patterns

# (pattern as in .gitignore, why)
EXCLUDED: Final[tuple[tuple[str, str], ...]] = (
    ("__pycache__/", "bytecode of this machine's Python"),
    ("*.pyc", "bytecode of this machine's Python"),
    ("*.pyo", "bytecode of this machine's Python"),
    (".venv/", "a virtual environment; the machine gets its own"),
    (".mypy_cache/", "a cache"),
    (".ruff_cache/", "a cache"),
    (".pytest_cache/", "a cache"),
    (".hypothesis/", "a cache"),
    (".ipynb_checkpoints/", "copies of notebooks"),
    (".tox/", "test environments"),
    (".nox/", "test environments"),
    (".eggs/", "build requirements fetched by setuptools"),
    ("*.egg-info/", "metadata of an installation on this machine"),
    (".pixi/", "an environment; the machine gets its own"),
    ("node_modules/", "JavaScript packages"),
    ("checkpoints/", "saved training states (a folder with an __init__.py is code and travels)"),
    ("lightning_logs/", "logs and saved training states of earlier runs"),
    ("wandb/", "logs of earlier runs (a folder with an __init__.py is code and travels)"),
    ("mlruns/", "logs of earlier runs"),
    (".hg/", "a repository's history"),
    (".svn/", "a repository's history"),
    (".jj/", "a repository's history"),
    (".idea/", "settings of an editor"),
    (".DS_Store", "a file of the operating system"),
    ("Thumbs.db", "a file of the operating system"),
    (".#*", "a lock of an editor"),
    ("*.swp", "unsaved work of an editor"),
    ("*~", "a backup of an editor"),
)
# A folder may also be told by what is in it.
MARKS: Final[dict[str, str]] = {
    "pyvenv.cfg": "a virtual environment (it holds pyvenv.cfg)",
    "conda-meta": "a conda environment (it holds conda-meta)",
    "CACHEDIR.TAG": "a cache (it holds CACHEDIR.TAG)",
}
# Names that are also good names for packages: with an __init__.py inside the folder is code.
MAY_BE_CODE: Final = ("checkpoints", "wandb")
NEVER: Final = {".git": "the repository's history; it never travels"}
ORIGIN: Final = "built in"

# Compared without regard to case; an entry with a "/" at the end is about folders, any other about files.
SECRET: Final[tuple[tuple[str, str], ...]] = (
    ("*.env", "environment variables, often keys"),
    (".env", "environment variables, often keys"),
    (".env.*", "environment variables, often keys"),
    (".envrc", "environment variables, often keys"),
    ("*.pem", "a private key or certificate"),
    ("*.key", "a private key"),
    ("*.ppk", "a private key"),
    ("*.p8", "a private key"),
    ("*.p12", "a private key"),
    ("*.pfx", "a private key"),
    ("*.jks", "a key store"),
    ("*.keystore", "a key store"),
    ("*.kdbx", "a password store"),
    ("*.ovpn", "access to a network"),
    ("id_rsa", "an SSH key"),
    ("id_dsa", "an SSH key"),
    ("id_ecdsa", "an SSH key"),
    ("id_ed25519", "an SSH key"),
    ("id_ecdsa_sk", "an SSH key"),
    ("id_ed25519_sk", "an SSH key"),
    (".ssh/", "SSH keys"),
    (".gnupg/", "GPG keys"),
    (".aws/", "AWS credentials"),
    (".azure/", "Azure credentials"),
    (".gcloud/", "Google Cloud credentials"),
    (".kube/", "Kubernetes credentials"),
    (".docker/", "registry credentials"),
    (".dockercfg", "registry credentials"),
    (".netrc", "passwords"),
    ("_netrc", "passwords"),
    (".pgpass", "passwords"),
    (".htpasswd", "passwords"),
    (".pypirc", "registry credentials"),
    (".npmrc", "registry credentials"),
    (".git-credentials", "passwords"),
    (".vault-token", "a token"),
    (".modal.toml", "a token"),
    ("kaggle.json", "a token"),
    ("credentials", "credentials"),
    ("credentials.[!p]*", "credentials"),  # credentials.py is code
    ("*-credentials.json", "credentials"),
    ("*_credentials.json", "credentials"),
    ("credentials-*.json", "credentials"),
    ("credentials_*.json", "credentials"),
    ("client_secret*.json", "credentials"),
    ("*service[-_]account*.json", "credentials of a service account"),
    ("*serviceaccount*.json", "credentials of a service account"),
    ("secrets.toml", "secrets"),
    ("secrets.json", "secrets"),
    ("secrets.y*ml", "secrets"),
    ("*.tfstate", "Terraform's state holds secrets in plain text"),
    ("*.tfstate.*", "Terraform's state holds secrets in plain text"),
    ("terraform.tfvars", "Terraform's variables, often secrets"),
    ("*.auto.tfvars", "Terraform's variables, often secrets"),
)
# Templates without values: they travel.
NO_SECRET: Final = (
    ".env.example",
    ".env.sample",
    ".env.template",
    ".env.dist",
    ".env.defaults",
    ".env.*.example",
    "example.env",
    "sample.env",
    "template.env",
)
# Names that Google gives the keys of service accounts (project-0123456789ab.json); the content decides.
MAYBE_SECRET: Final = re.compile(r"[a-z][a-z0-9-]*-[0-9a-f]{12}\.json")
SECRET_CONTENT: Final = b'"private_key"'
SECRET_ORIGIN: Final = "looks like a secret"

TABLES: Final = (EXCLUDED, MARKS, MAY_BE_CODE, SECRET, NO_SECRET, MAYBE_SECRET.pattern)  # all that decides

_REASONS: Final = dict(EXCLUDED)
_SECRET_REASONS: Final = dict(SECRET)


def excluded() -> RuleSet:
    """The rules of ``EXCLUDED``."""
    return from_patterns([pattern for pattern, _ in EXCLUDED], origin=ORIGIN)


def secrets(*, is_dir: bool) -> RuleSet:
    """The rules of ``SECRET`` for files or for folders, taken back for ``NO_SECRET``; match lower-case names."""
    patterns = [pattern for pattern, _ in SECRET if pattern.endswith("/") == is_dir]
    return from_patterns(patterns + [f"!{pattern}" for pattern in NO_SECRET], origin=SECRET_ORIGIN)


def reason(pattern: str) -> str:
    """Why a pattern of one of the two tables is there."""
    return _REASONS.get(pattern) or _SECRET_REASONS[pattern]
