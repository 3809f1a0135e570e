"""`python -m xbench`: the command line."""

from xbench.cli import main

if __name__ == "__main__":
    main()
