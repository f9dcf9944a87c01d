"""`lollms doctor`."""

from __future__ import annotations

import platform

import click

from lollms_core import LollmsError, __version__, installed_formats
from lollms_core.cli import config_file
from lollms_core.cli.checks import Finding
from lollms_core.cli.diagnosis import Report, examine
from lollms_core.cli.guard import current_state, printable, redacted, traceback_of
from lollms_core.cli.options import Choices, connection_options
from lollms_core.cli.terminal import print_json

__all__ = ["command"]


@click.command(
    epilog="""
\b
Examples:
  lollms doctor
  lollms doctor openai ollama --timeout 30
  lollms doctor --debug

\b
Exit status: 0 if the chosen format answers and nothing is broken, else 1. A server that is not running is a
problem only if its format is the chosen one.
"""
)
@click.argument("formats", nargs=-1)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long all checks together may take.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@connection_options
@click.pass_context
def command(ctx: click.Context, formats: tuple[str, ...], timeout: float, as_json: bool, choices: Choices) -> None:
    """Check every installed format, or FORMATS, and say what to do.

    A check loads the format, makes a client as the configuration says, and asks for the list of models. The checks
    run at the same time; one that hangs stops none of the others.
    """
    report = examine(tuple(name.lower() for name in formats), timeout, choices)
    if as_json:
        print_json(report.as_json())
    else:
        _print(report)
    if report.problems:
        ctx.exit(1)


def _print(report: Report) -> None:
    click.echo(
        f"lollms-core {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    path = config_file.config_path()
    if isinstance(report.config, LollmsError):
        click.echo(f"Configuration: {click.style(printable(redacted(report.config.message)), fg='red')}")
    else:
        click.echo(f"Configuration: {path}{'' if path.exists() else ' (there is none)'}")
    click.echo(f"Chosen format: {report.chosen} ({report.source})\n")
    formats = installed_formats()
    width = max((len(name) for name in report.findings), default=0)
    for name, finding in report.findings.items():
        info = formats.get(name)
        package = f"{info.distribution} {info.version}" if info else ""
        _print_line(name.ljust(width), finding, report.is_problem(name, finding), package)
    for name, error in report.extensions.items():
        sign = click.style("✗", fg="red") if error else click.style("✓", fg="green")
        click.echo(f"{sign} extension {name}" + (f": {printable(redacted(error))}" if error else ""))
    for remark in report.remarks:
        click.echo(f"{click.style('!', fg='yellow')} {printable(redacted(remark))}")
    if current_state().debug:
        for name, failure in report.failures.items():
            click.echo(f"\n--- {name}\n{traceback_of(failure)}", nl=False)
    problems = report.problems
    click.echo()
    if problems:
        click.secho(f"To be seen to: {', '.join(problems)}.", bold=True)
        if report.failures and not current_state().debug:
            click.echo("`lollms doctor --debug` shows the tracebacks.")
    else:
        click.echo(f'All is well: `lollms generate "Hello!"` will ask {report.chosen}.')


def _print_line(name: str, finding: Finding, problem: bool, package: str) -> None:
    sign = ("✓", "green") if finding.status == "ready" else ("✗", "red") if problem else ("-", "yellow")
    click.echo(f"{click.style(sign[0], fg=sign[1])} {click.style(name, bold=True)}  {finding.status}", nl=False)
    if finding.status == "ready":
        click.echo(f": {printable(redacted(finding.detail))}  {click.style(package, dim=True)}".rstrip())
    else:
        click.echo(f"  {click.style(package, dim=True)}".rstrip())
        click.echo(f"    {printable(redacted(finding.detail))}")
    if finding.hint:
        click.echo(f"    {click.style('→', fg='cyan')} {printable(redacted(finding.hint))}")
