"""One benchmark of the suite in this process: `python one.py NAME [--quick] --output ROWS.json`."""

import importlib
import json
from dataclasses import asdict
from pathlib import Path

import tyro
from rich.console import Console
from suite import find_peer
from table import console_table


def main(
    name: tyro.conf.Positional[str],
    quick: bool = False,
    peer_python: str | None = None,
    threads: int | None = None,
    output: Path | None = None,
) -> None:
    """Measures, prints the rows, writes them.

    Args:
        name: module of this folder with `measure(quick, peer)`.
        quick: smaller shapes and fewer rounds.
        peer_python: interpreter that has torch; by default this one, if it has.
        threads: threads the peers use; by default one per core.
        output: file for the rows as JSON.
    """
    rows = importlib.import_module(name).measure(quick, find_peer(peer_python, threads))
    Console(stderr=True, width=150).print(console_table(rows))
    if output is not None:
        output.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
