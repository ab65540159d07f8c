"""An exported folder as a model of KServe: its server and gateway in front, this engine behind.

    python -m mmjax.serve.kserve_model OUT --http_port=8080

What is not an answer has the statuses of `errors.py`. One model of Open Inference Protocol v2;
`/v1/predict` and the page belong to the FastAPI front alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException
from pydantic_core import to_json

from mmjax.core.errors import MMJaxError
from mmjax.core.extras import require
from mmjax.export import load
from mmjax.serve import protocol
from mmjax.serve.config import EngineConfig, Limits
from mmjax.serve.engine import Engine
from mmjax.serve.errors import status_of, told

kserve: Any = require("kserve", "kserve")

_KEYS = ("id", "parameters", "inputs", "outputs")


class Model(kserve.Model):
    """The engine of one exported folder; ready once every bucket is compiled."""

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        name: str = "model",
        config: EngineConfig | None = None,
        limits: Limits | None = None,
    ):
        super().__init__(name)
        self._served = Engine(lambda: load(folder), config)
        self._limits = limits or Limits()
        # KServe registers what says that it is ready, asks `healthy` whether it is, and awaits
        # `start_engine` of what has an engine beside its servers.
        self.engine = self.ready = True

    async def start_engine(self) -> None:
        await self._served.start()

    async def healthy(self) -> bool:
        return self._served.ready

    def stop_engine(self) -> None:
        self.ready = False
        self._served.close()

    def get_input_types(self) -> list[dict[str, Any]]:
        return protocol.metadata(self._served.program)["inputs"]

    def get_output_types(self) -> list[dict[str, Any]]:
        return protocol.metadata(self._served.program)["outputs"]

    async def predict(
        self,
        payload: Any,
        headers: Mapping[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        """An InferResponse of an InferRequest."""
        try:
            program = self._served.program
            request, length = payload.to_rest()
            if not isinstance(request, bytes):
                request = to_json({key: request[key] for key in _KEYS if request.get(key)})
            size = "" if length is None else str(length)
            asked = protocol.read_request(program, request, size, self._limits)
            answers = await self._served.predict(asked.examples, deadline_s=asked.deadline_s)
            for answer in answers:
                if isinstance(answer, MMJaxError):
                    raise answer
            results: Any = answers
            plain = protocol.without_binary(asked)
            found, _ = protocol.write_response(program, plain, results)
        except MMJaxError as error:
            raise HTTPException(status_of(error), told(error)) from error
        return kserve.InferResponse.from_rest({**found, "model_name": self.name})


def main(arguments: list[str]) -> None:
    """Serves one folder; what follows it are options of KServe's."""
    parser = kserve.model_server.parser
    parser.add_argument("folder", metavar="OUT")
    args, _ = parser.parse_known_args(arguments)
    kserve.ModelServer().start([Model(args.folder, name=args.model_name)])


if __name__ == "__main__":
    main(sys.argv[1:])
