"""Does nothing: what is left of its wall time is runctl's own."""
