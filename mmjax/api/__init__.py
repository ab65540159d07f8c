"""What `import mmjax` shows: `fit`, `train`, `load_run`.

`run.py` is a trained run put to use, `training.py` trains one or several and finishes them
(evaluation, report), `fitting.py` and `choosing.py` choose a config for a table, `reporting.py` and
`showing.py` fill the report.
"""
