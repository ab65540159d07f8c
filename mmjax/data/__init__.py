"""From a manifest, a DataFrame or an embedded set to global batches.

    source -> Table -> (join, align) -> split -> fitted processors -> Grain -> Batch

- `sources/`: one file a source of rows (CSV, JSON Lines, Parquet, DataFrame, TFDS, embedded).
- `modalities/`: one file a kind of input: settings, fitting, one example, padding a batch.
- `targets/`: one file a kind of target column.
- `outline.py`: the shapes that a config alone says, for programs compiled ahead of time.
- `validation.py`: everything that is wrong with a table, told and not raised.
- `embedded/`: the data that ships with the package, each with its NOTICE.

To add one: a file with a frozen dataclass (its fields are its settings) and a line in the registry.
"""
