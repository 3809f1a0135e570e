"""A metric of metrics: what each column of a result can tell apart, and what it cannot.

`ladders` makes maps worse in known steps, `judged` scores them with every metric, `findings` says what follows.
"""
