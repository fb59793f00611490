"""``python -m convexnn`` is the command line."""

from convexnn.cli import main

if __name__ == "__main__":
    main()
