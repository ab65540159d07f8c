"""What `import mmjax` shows: `fit`, `train`, `load_run`.

`run.py` is a trained run put to use, `training.py` trains one or several and finishes them
(evaluation, report), `fitting.py` and `choosing.py` choose a config for a table, `validating.py`
tells what is wrong with one.

The page of a run: `reporting.py` fills it, `answers.py` with what depends on the task, `showing.py`
and `example_media.py` with rows as people see and hear them, `slicing.py`, `data_looks.py`,
`costs_of_run.py` and `embedding_maps.py` with a section each; `reports.py` makes the whole of it,
of several runs too. To add a section: its markup in `mmjax.report`, a field of `ReportContents`,
and what fills it here.

Of many runs: `runs.py` lists them, `watching.py` follows one, `reproducing.py` measures committed
results again, `comparing.py` sets them against each other, `cross_validation.py` trains one a fold,
`hyperparameters.py` searches settings (`study.py` is the search on disk, `trials.py` what a point
is worth), `fusion_weights.py`, `learning_rate.py` and `batch_size.py` find one setting alone, and
`subsets.py` tells what each modality adds.

Before hardware is rented: `compiling.py` compiles a step for a topology and searches other ways to
run it (`candidates.py`), `compiled.py` is what is told of it, and `sharding_table.py` where a state
lives.
"""
