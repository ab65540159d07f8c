"""A process that answers blocks: a line of JSON for each on its standard input, one back.

`python -m mmjax.serve.bulk.worker` is told its work on the first line. It ends where its input
does, as it does when the process that started it is killed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys

from mmjax.core.config import from_json
from mmjax.core.errors import MMJaxError
from mmjax.serve.bulk.answering import Answerer
from mmjax.serve.bulk.job import Work
from mmjax.serve.bulk.rows import Block


def main() -> int:
    """Its exit code: that of the error that it ended with."""
    # Whatever libraries print goes to standard error.
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        from mmjax.export import load

        work = from_json(Work, json.loads(sys.stdin.readline()))
        answerer = Answerer(load(work.model), work)
        for line in sys.stdin:
            block = Block(**json.loads(line))
            answerer.write(block)
            told.write(json.dumps({"block": block.number}) + "\n")
    except MMJaxError as error:
        told.write(json.dumps({"error": [error.code, error.what, error.where, error.fix]}) + "\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def told(work: Work) -> str:
    """The first line."""
    return json.dumps(dataclasses.asdict(work)) + "\n"


if __name__ == "__main__":
    sys.exit(main())
