"""SQLite, for the reservations table alone."""
