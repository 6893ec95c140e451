"""What surrounds every job. A middleware observes and keeps books; it never decides what the business does."""
