"""Transactional state: the Stripe outbox now; accounts, reservations, credits and periods later."""
