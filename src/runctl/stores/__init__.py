"""Keep bytes under keys: a folder, a bucket."""
