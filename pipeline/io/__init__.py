"""What comes from elsewhere and goes there: files, URLs, text, JSON, locks, the log."""
