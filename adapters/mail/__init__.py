"""Mail as it is written and sent: Jinja2 templates, MIME, SMTP."""
