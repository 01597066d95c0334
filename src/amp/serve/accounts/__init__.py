"""Who may spend what: keys, budgets, and what they have spent.

`base` is the protocol; `sqlite` and `redis` keep it, for one machine and for several.
"""
