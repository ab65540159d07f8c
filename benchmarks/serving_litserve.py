"""The model of `serving_model.py` behind LitServe, as its documentation serves a batching model.

python -m benchmarks.serving_litserve --port 9000
"""

from __future__ import annotations

import sys
from typing import Any

import litserve

from benchmarks.serving_model import Layers, options


class Api(litserve.LitAPI):
    def __init__(self, depth: int, **rest: Any):
        super().__init__(**rest)
        self.depth = depth

    def setup(self, device: Any) -> None:
        self.model = Layers(self.depth)
        self.model.warm_up()

    def decode_request(self, request):
        return request["inputs"]["text"]

    def predict(self, texts: Any) -> Any:
        # It gives a list only where it batches.
        many = isinstance(texts, list)
        answers = self.model.answer(texts if many else [texts])
        return answers if many else answers[0]

    def encode_response(self, answer: Any) -> Any:
        return {"prediction": {"answer": answer}}


def main() -> int:
    args = options(__doc__).parse_args()
    api = Api(
        args.depth,
        max_batch_size=args.max_batch,
        batch_timeout=args.max_delay_ms / 1000,
        api_path="/v1/predict",
    )
    server = litserve.LitServer(api, accelerator="cpu", timeout=30)
    server.run(host="127.0.0.1", port=args.port, log_level="error", generate_client_file=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
