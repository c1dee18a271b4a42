"""What the tests of billing share: stores of both kinds, and ways to stage the double of Stripe."""
