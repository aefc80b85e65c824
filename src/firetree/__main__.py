"""`python -m firetree` is the command `firetree`."""

from firetree.cli import main

if __name__ == "__main__":
    main()
