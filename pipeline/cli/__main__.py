"""`python -m tfpipe.cli` → the command `tfpipe`."""

from __future__ import annotations

from tfpipe.cli import main

if __name__ == "__main__":
    main()
