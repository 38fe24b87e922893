"""``python -m hyvae``."""

from hyvae.cli import main

main()
