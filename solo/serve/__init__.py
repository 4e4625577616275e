"""`solo serve`: a web page and a REST API for models, and adapters for labelling tools."""
