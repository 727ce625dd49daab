"""A machine reached by the user's own OpenSSH."""
