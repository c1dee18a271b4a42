"""What people look at: the console, Grafana, alert rules."""
