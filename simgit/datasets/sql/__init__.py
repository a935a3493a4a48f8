"""SQL over what is recorded, by DuckDB: read only, and no files."""
