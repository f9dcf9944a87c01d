"""Between threads and event loops: a backend is written for one of the two worlds, its callers live in both."""
