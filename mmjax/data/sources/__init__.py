"""Sources of rows: one file each, a frozen dataclass with `read() -> Table`."""
