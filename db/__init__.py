"""The record: tables, sessions, leases, queries. Knows no tensors, and never commits."""
