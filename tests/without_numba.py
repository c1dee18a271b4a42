"""Runs something on a machine on which numba cannot be loaded.

`python -m tests.without_numba pytest tests/test_lane.py` runs any tests so (those of the scanner and of the key table
take a minute), `python -m tests.without_numba millrace run ...` the program.
"""

import runpy
import sys

if __name__ == "__main__":
    sys.modules["numba"] = None  # type: ignore[assignment]
    del sys.argv[0]
    if sys.argv[0] == "millrace":
        from cli.main import main

        main()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
