"""What is compiled is kept on disk, and never outlives a change of any of the sources."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
COLON_BEHIND_A_TAB = (
    "import numpy as np; from pipeline.kernels.scanner import _colon_behind; "
    "line = np.zeros(99, np.uint8); line[:2] = [9, 58]; print(_colon_behind(line, 0))"
)


def colon_behind_a_tab(folder: Path) -> int:
    command = [sys.executable, "-c", COLON_BEHIND_A_TAB]
    return int(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout)


def test_a_change_in_one_file_reaches_what_another_has_compiled_of_it(tmp_path):
    shutil.copytree(
        ROOT / "pipeline/kernels", tmp_path / "pipeline/kernels", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pipeline/__init__.py", tmp_path / "pipeline")
    assert colon_behind_a_tab(tmp_path) == 2
    assert list(tmp_path.glob("pipeline/kernels/__pycache__/scanner._colon_behind*.nbc"))

    text = tmp_path / "pipeline/kernels/text.py"
    skips_tabs = "while c == 32 or c == 9"
    assert skips_tabs in text.read_text()
    text.write_text(text.read_text().replace(skips_tabs, "while c == 32"))

    assert colon_behind_a_tab(tmp_path) == -1


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(tmp_path):
    code = "import numba.core.caching as c; c.CacheImpl._locator_classes = []; " + COLON_BEHIND_A_TAB
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == ("2\n", "")
