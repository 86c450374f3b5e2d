"""SELECTs: what is due, what is shown, what is asked."""
