"""What a command tells its operator beside what it gives: one line on stderr."""

import typer


def say(sentence: str) -> None:
    """Tell a sentence in the program's name; a line break in it, as a file's name may hold one, stays in the line."""
    typer.echo(f"millrace: {sentence}".replace("\n", "\\n"), err=True)
