"""Adapters that lease machines; one file or folder each."""
