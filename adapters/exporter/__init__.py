"""The process that Prometheus scrapes and probes ask."""
