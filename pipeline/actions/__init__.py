"""What command line, dashboard and notebook do alike."""
