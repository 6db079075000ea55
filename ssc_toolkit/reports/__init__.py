"""Reports as JSON, Markdown and HTML, with tables, plots and an interactive map of embeddings."""
