"""Two benchmarks and a model that amp finds by their entry points."""
