"""The formatter: one way to print the language (`source.format_source`)."""
