"""runctl: take a training script and run it on a machine."""
