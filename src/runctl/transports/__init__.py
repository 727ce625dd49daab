"""Adapters that reach a machine; one file each."""
