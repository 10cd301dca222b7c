"""The terminal table of published numbers beside ours."""

from typing import Any

from priorwise.recipes.tables import PublishedRow

__all__ = ["print_table"]


def _ours(record: dict[str, Any]) -> str:
    text = f"{record['nll']:.2f} ± {record['stderr_data']:.2f}"
    return text + (" *" if record.get("departures") else "")


def print_table(paper: str, rows: list[PublishedRow], extra: list[dict[str, Any]]) -> None:
    """Print one table on standard output; departures from the published protocol stand below it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{paper}: published beside ours (NLL in nats where no unit stands)")
    table.add_column("row")
    table.add_column("published", justify="right")
    table.add_column("ours", justify="right", no_wrap=True)
    table.add_column("recipe", no_wrap=True)
    notes: dict[str, None] = {}
    for row in rows:
        ours = "\n".join(_ours(record) for record in row.ours) or "not run"
        quoted = " (quoted)" if row.quoted else ""
        unit = "" if row.metric.startswith("NLL") else f" {row.metric}"
        name = row.recipe.removeprefix(f"{paper}/")
        table.add_row(f"{row.table} {row.row}, {row.dataset}", row.published + unit + quoted, ours, name)
        for record in row.ours:
            notes |= dict.fromkeys(f"{record['recipe']}: {note}" for note in record.get("departures", []))
        if row.note:
            notes[f"{row.table} {row.row} {row.dataset}: published {row.note}"] = None
    for record in extra:
        title = f"{record['title']}, {record['dataset']}"
        table.add_row(title, "-", _ours(record), record["recipe"])
        notes |= dict.fromkeys(f"{record['title']}: {note}" for note in record.get("departures", []))
    console = Console()
    console.print(table)
    for note in notes:
        console.print(f"* {note}", style="dim", highlight=False)
