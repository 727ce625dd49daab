"""The user's directory, read-only: root, script, config, which files travel, dependencies."""
