"""The dashboard: pages over the store, rendered here, live by server-sent events; no torch.

``app.make_app`` puts it together, ``server.serve`` runs it; one module a page family.
"""
