"""`python -m diffaug`: the command line."""

from diffaug.cli import main

if __name__ == "__main__":
    main()
