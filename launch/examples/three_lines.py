"""Three lines from a DataFrame to a model that predicts.

python launch/examples/three_lines.py
"""

import pandas as pd

import mmjax

words = {"fruit": "red apple, green pear, ripe plum", "vehicle": "red car, green bus, old tram"}
frame = pd.DataFrame(
    {"text": f"a {one} {i}", "weight": weight + i, "kind": kind}
    for i in range(20)
    for kind, weight in (("fruit", 0.2), ("vehicle", 900.0))
    for one in words[kind].split(", ")
)

run = mmjax.fit(
    frame,
    label="kind",
    workdir="runs/three_lines",
    settings=["train.duration=10 epochs"],
)
print(run.predict_one(text="a green plum", weight=0.3))
