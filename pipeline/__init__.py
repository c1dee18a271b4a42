"""The domain and the dataflow: decode, rate, count once, window. Imports none of the other packages."""
