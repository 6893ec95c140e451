"""The comparisons. Each is a function of a `Bench` that returns what goes into the results under its name."""
