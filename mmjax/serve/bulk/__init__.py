"""An exported model over millions of rows: each id once in what is written, whatever is killed.

    mmjax predict EXPORT rows.parquet OUT --workers 4
    mmjax predict EXPORT rows.parquet OUT --ray auto --resume

Rows are read in blocks that one pass over the ids plans (`rows.py`). Whoever has a block answers
it (`answering.py`) and writes it to a file of the block's name, whole or not at all, so that a
block that is answered twice is still there once (`job.py`). `--resume` does those that are not yet
there. Blocks are answered in this process and in others that are replaced when they die
(`workers.py`, `worker.py`), or by actors of Ray Data, on one machine or many (`on_ray.py`);
`running.py` is all of it together. Another way to spread them is a function that takes a
`job.Work` and its blocks.
"""
