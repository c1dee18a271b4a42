"""`millrace schema`: the JSON Schema of a usage event, for editors, producers and their tests."""

import json

import typer

from pipeline.schema import event_json_schema

app = typer.Typer(name="schema")


@app.command()
def main() -> None:
    """Print the JSON Schema (draft 2020-12) of a usage event."""
    typer.echo(json.dumps(event_json_schema(), indent=2))
