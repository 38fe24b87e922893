"""A run as one page: no script, no network, one file to send on."""

from hyvae.reports.write import require_matplotlib, write_report

__all__ = ["require_matplotlib", "write_report"]
