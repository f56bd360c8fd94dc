"""``python -m uadbench`` is ``bench``."""

from uadbench.bench.cli import main

main()
