"""Seeded input, the measurements and their peers."""
