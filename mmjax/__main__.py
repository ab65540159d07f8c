"""`python -m mmjax` is the `mmjax` command."""

import sys

from mmjax.cli import main

sys.exit(main())
