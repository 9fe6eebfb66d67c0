"""`python -m plxnix`: the command line."""

import sys

from plxnix.cli import main

if __name__ == "__main__":
    sys.exit(main())
