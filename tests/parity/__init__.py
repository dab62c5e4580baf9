"""The standard library held against transformers, or against code written from the papers."""
