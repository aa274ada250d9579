"""Metrics, traces, logs: everything that leaves the process about calls, without a word of their text.

Keeps: the table of Prometheus series, the OpenTelemetry export, the access log, the logging set-up that
masks what looks like a key, the dashboard and alert rules' names (checked against the table).
Does not know: prompts and answers. It is handed `CallRecord`s, which have no text field.
Door: `metrics.Metrics`, `access_log.AccessLog`, `otel.open_otel`, `logs.configure_logging`. Each is
imported from its module, so that who needs one does not pay for the others.
"""
