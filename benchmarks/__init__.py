"""Speed and memory of priorwise, side by side with a peer library and with the floor of the matrix products.

``python -m benchmarks`` from the root of the repository, or ``make bench``. One file a subject;
each says what it measures and what bounds it. Nothing of the library imports this package.
"""
