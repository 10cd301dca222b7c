"""``python -m priorwise``: the ``priorwise`` command."""

from priorwise.cli import main

if __name__ == "__main__":
    main()
