"""The Python API: ``runctl.train`` and its kin, for scripts and notebooks. ``runctl`` itself has the public names.

The verbs of ``runctl.api`` stand behind all of it. What is added here: the work is done on a thread of its own, so
that the caller's thread and signal handlers stay the caller's; what happens is kept in a log that can be read again.
"""
