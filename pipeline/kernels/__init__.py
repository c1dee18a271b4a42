"""The compiled inner loops: each works on whole columns, without the interpreter lock and without objects.

Every buffer handed to them is padded: `PAD` readable bytes follow the last byte that is used, so a load of
eight bytes at any valid position stays inside the buffer.
"""
