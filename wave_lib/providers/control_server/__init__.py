"""An owned Wave Control service on `http.server` and `sqlite3`: ingest, queries, brokers, leases. Spec: PROV 10.

It does not wait in the launcher's way: nothing here is imported unless `control-server` runs.
"""
