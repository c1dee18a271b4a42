"""The invariants of the ledger, each as a question whose answer is a list of differences.

Every question is put so that what is held at a time is bounded, whatever the size of the ledger.
"""
