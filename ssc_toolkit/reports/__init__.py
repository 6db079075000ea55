"""Reports as pages: sections, plots, the embedding map."""
