"""`runai spark-submit`: all words are Spark's or ours; click sees none of them."""

import click


@click.command(
    "spark-submit",
    short_help="Run a Spark application as one workload.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def spark_submit(ctx: click.Context, /, words: tuple[str, ...]) -> None:
    """Run a Spark application as one workload, through the real spark-submit."""
    from runai_spark.submit import run

    ctx.exit(run(words))
