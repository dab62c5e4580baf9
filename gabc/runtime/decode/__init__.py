"""Decoding: a design that goes on with a sequence from a state, derived from the design's text."""

from gabc.runtime.decode.decoder import Decoder
from gabc.runtime.decode.state import State

__all__ = ["Decoder", "State"]
