"""A run, or a comparison of models, as one page: no script, no network, one file to send on."""

from hyvae.reports.comparison import write_comparison
from hyvae.reports.write import require_matplotlib, write_report

__all__ = ["require_matplotlib", "write_comparison", "write_report"]
