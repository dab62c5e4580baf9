"""Functions that generated modules call, and paste into themselves when they stand alone.

Each imports nothing but torch and uses nothing but torch and other functions of this package.
"""
