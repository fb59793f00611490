"""Nested cross-validation of the convex network and of the usual methods on small tables."""
