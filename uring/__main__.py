"""`python -m uring` is the command `uring`."""

import sys

from .cli import main

sys.exit(main())
