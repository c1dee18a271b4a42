"""Kafka for the benchmark: a broker of one's own, and topics filled from a file."""
