"`python -m masktune` is the `masktune` command."

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
