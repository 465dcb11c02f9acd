"""`python -m chainlab`."""

from chainlab.cli.main import main

if __name__ == "__main__":
    main()
