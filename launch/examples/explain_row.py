"""Why a model said what it said of a row: what each modality adds, and which words.

python launch/examples/explain_row.py
"""

import pandas as pd

import mmjax

frame = pd.DataFrame(
    {"text": f"a {word} thing number {i}", "weight": float(i % 7), "kind": kind}
    for i in range(30)
    for word, kind in (("feathered", "bird"), ("scaly", "fish"))
)
run = mmjax.fit(frame, "kind", "runs/explained", settings=["train.duration=10 epochs"])
found = run.explain(frame, methods=["shapley", "occlusion"], rows=2)
print(found.save("runs/explained/explanations"))
