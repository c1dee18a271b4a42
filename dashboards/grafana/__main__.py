"""Write the dashboards' JSON: `python -m dashboards.grafana`."""

import sys
from pathlib import Path

from dashboards.grafana.boards import BOARDS
from dashboards.grafana.build import to_json

FOLDER = Path(__file__).parent / "json"


def main() -> None:
    """Write a file for each dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for board in BOARDS:
        file = FOLDER / f"{board.uid}.json"
        file.write_text(to_json(board), encoding="utf-8")
        sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    main()
