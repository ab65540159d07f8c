"""A run exported to a folder that needs none of its code, loaded as a program, and asked over HTTP.

python launch/examples/serve.py
"""

import json
import subprocess
import sys
import urllib.request

import pandas as pd

import mmjax

frame = pd.DataFrame(
    {"text": f"a {word} thing number {i}", "kind": kind}
    for i in range(30)
    for word, kind in (("feathered", "bird"), ("scaly", "fish"))
)
run = mmjax.fit(frame, "kind", "runs/served", settings=["train.duration=10 epochs"])
mmjax.export(run, "runs/exported", platforms=("cpu",))
print(mmjax.export.load("runs/exported").predict({"text": "a feathered thing"}))

with subprocess.Popen(
    [sys.executable, "-m", "mmjax", "serve", "runs/exported", "--port", "0"],
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,  # its log
    text=True,
) as server:
    url = server.stdout.readline().split()[2]  # "serving runs/exported  http://..."
    body = json.dumps({"inputs": {"text": "a scaly thing"}}).encode()
    asked = urllib.request.Request(f"{url}/v1/predict", body, {"content-type": "application/json"})
    with urllib.request.urlopen(asked) as answer:
        print(json.load(answer)["prediction"]["answer"])
    server.terminate()
