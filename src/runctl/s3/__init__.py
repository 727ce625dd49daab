"""S3 spoken directly, the same on a machine and on the client: standard library only, Python 3.8 and later."""
