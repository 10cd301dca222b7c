"""The ``priorwise`` command, also as ``python -m priorwise``."""

from priorwise.interrupts import interruptible_imports

__all__ = ["main"]


def main() -> None:
    """Run the command; Ctrl-C ends it quietly from the start, while it is still being imported."""
    with interruptible_imports():
        from priorwise.cli import main as command
    command()


if __name__ == "__main__":
    main()
