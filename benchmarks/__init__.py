"""Measurements and long runs: `make corpus`, and the script that makes the demo's sample."""
