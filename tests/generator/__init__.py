"""Well-typed GAB programs, drawn at random, and the comparison of the backends on them."""
