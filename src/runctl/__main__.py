"""``python -m runctl``."""

from runctl.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
