"""A run exported to a folder that needs none of its code, and asked over HTTP.

python launch/examples/serve.py [--quick]

The folder is loaded here as a program; `mmjax serve FOLDER` puts the same behind HTTP.
"""

import sys

import pandas as pd

import mmjax

frame = pd.DataFrame(
    {"text": f"a {word} thing number {i}", "kind": kind}
    for i in range(30)
    for word, kind in (("feathered", "bird"), ("scaly", "fish"))
)
steps = "1 epochs" if "--quick" in sys.argv else "10 epochs"
run = mmjax.fit(frame, "kind", "runs/served", settings=[f"train.duration={steps}"])
mmjax.export(run, "runs/exported", platforms=("cpu",))
program = mmjax.export.load("runs/exported")
print(program.predict({"text": "a feathered thing"}))
print("mmjax serve runs/exported --port 8080")
