"""PostgreSQL and Valkey out of their wheels, for a machine with nothing but Python."""
