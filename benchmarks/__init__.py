"""Speed and memory of priorwise beside a peer library and the floor of the matrix products.

``python -m benchmarks`` from the root of the repository, or ``make bench``. One file a subject;
each says what it measures and what bounds it. Nothing of the library imports this package.
"""
