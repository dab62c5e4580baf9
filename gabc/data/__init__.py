"""Text for training and scoring: tokenizers, corpora, packing and the n-gram baseline."""
