"""The dumb model: the contract in plain Python, one event at a time, sharing no code with the pipeline.

It is slow and simple on purpose. Quantities and money are `Fraction` or `int`, the ledger is a list, what is
spent is a dict. `Model.feed` says what must become of one line; the sums say what must be in the ledger.
"""

from .ledger import Model, Outcome, Row, Settings
from .spend import Crossing

__all__ = ["Crossing", "Model", "Outcome", "Row", "Settings"]
