"""What `import mmjax` shows: `fit`, `train`, `load_run`.

`run.py` is a trained run put to use, `training.py` trains one or several and finishes them
(evaluation, report), `fitting.py` and `choosing.py` choose a config for a table, `reporting.py` and
`showing.py` fill the report.

Of many runs: `comparing.py` sets them against each other, `cross_validation.py` trains one a fold,
`hyperparameters.py` searches settings (`study.py` is the search on disk, `trials.py` what a point
is worth), `fusion_weights.py`, `learning_rate.py` and `batch_size.py` find one setting alone, and
`subsets.py` tells what each modality adds.
"""
