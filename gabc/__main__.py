"""`python -m gabc`."""

from gabc.cli.main import run

if __name__ == "__main__":
    run()
