"""The console: pages that show what is spent, by whom, on what, and whether all is well."""
