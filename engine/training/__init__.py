"""Training of denoisers: which images (``augment``), which levels and weights (``objectives``), the loop (``loop``)."""
