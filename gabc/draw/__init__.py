"""Pictures of a design: graphs in networkx, laid out by graphviz."""
