"""The tables, the session, the clock, and the schema's migrations."""
