"""Building blocks with logical axis names on every parameter.

One attention, one layer loop (`stack.py`), and the small parts that encoders and fusions share.
A new block is one file; its parameters name their axes with the words of `parallel.sharding.RULES`.
"""
