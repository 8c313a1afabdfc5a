"""`python -m daemon`, which waits for PostgreSQL's answers for a few seconds only, instead of two minutes."""

from daemon import assembly, cli

assembly.ANSWER_SECONDS = 4.0

if __name__ == "__main__":
    cli.main()
