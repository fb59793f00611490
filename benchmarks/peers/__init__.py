"""Global training beside its peers: ``python -m benchmarks.peers`` (or ``make bench-peers``)."""
