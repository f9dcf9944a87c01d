"""`lollms doctor`."""

from __future__ import annotations

import platform
import sys

import click

from lollms_core import __version__
from lollms_core._cli.completion import complete_formats
from lollms_core._cli.doctor_checks import Finding
from lollms_core._cli.doctor_report import Report, examine
from lollms_core._cli.messages import print_json, traceback_of
from lollms_core._cli.options import Choices, connection_options, json_option
from lollms_core._cli.screen import columns, printable
from lollms_core._cli.state import current_state, redacted
from lollms_core._cli.wrapping import cells, wrap

__all__ = ["command"]


@click.command(
    epilog="""
\b
Examples:
  lollms doctor
  lollms doctor openai ollama --timeout 30
  lollms doctor --all --debug

\b
Exit status: 0 if the chosen format, and every one that
was named, has a model that can answer, and nothing is
broken; else 1.
"""
)
@click.argument("formats", nargs=-1, shell_complete=complete_formats)
@click.option("--all", "everything", is_flag=True, help="Ask every installed format.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each check may take.",
)
@json_option("Print the findings as JSON.")
@connection_options
@click.pass_context
def command(
    ctx: click.Context, formats: tuple[str, ...], everything: bool, timeout: float, as_json: bool, choices: Choices
) -> None:
    """Check the chosen format, or FORMATS, and say what to do.

    A check loads the format, makes a client as the configuration says, and asks it for its models. The checks run at
    the same time; one that hangs stops none of the others. The other formats are not loaded: what is said of them is
    whether their packages are complete. Options such as --model are for the one format that is named.
    """
    if not all(name.strip() for name in formats):
        raise click.UsageError("The name of a format is empty.")
    report = examine(tuple(name.strip().lower() for name in formats), everything, timeout, choices)
    if as_json:
        print_json(report.as_json())
    else:
        _print(report)
    if report.problems:
        ctx.exit(1)


def _print(report: Report) -> None:
    _line(f"lollms-core {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    _line(f"Configuration: {report.config.path}{'' if report.config.path.exists() else ' (there is none)'}")
    for error in report.config_problems:
        _line(error.message, sign="✗ ", colour="red")
        _advice(error.hint)
    for error in report.wrong_variables.values():
        _line(error.message, sign="✗ ", colour="red")
    _line(f"Chosen format: {report.chosen} ({report.source})")
    click.echo()
    width = max(map(cells, report.findings), default=0)
    for name, finding in report.findings.items():
        _print_finding(name, width, finding, report.is_problem(name, finding), report.packages.get(name, ""))
    for name, failure in report.extensions.items():
        good = ("✓ ", "green") if not failure else ("✗ ", "red")
        _line(f"extension {name}{': ' if failure else ''}{failure}", sign=good[0], colour=good[1])
        _advice(report.extension_hints[name])
    for remark in report.remarks:
        _line(remark, sign="! ", colour="yellow")
    if current_state().debug:
        for name, cause in report.failures.items():
            click.echo(f"\n--- {name}\n{traceback_of(cause)}", nl=False)
    click.echo()
    _print_end(report)


def _print_finding(name: str, width: int, finding: Finding, problem: bool, package: str) -> None:
    sign, colour = ("✓", "green") if finding.status == "ready" else ("✗", "red") if problem else ("-", "yellow")
    padding = " " * (width - cells(name) + 2)
    click.echo(f"{click.style(sign, fg=colour)} {click.style(name, bold=True)}{padding}{finding.status}", nl=False)
    if finding.status == "ready":
        head = cells(f"{sign} {name}{padding}{finding.status}: ")
        click.echo(f": {_wrapped(finding.detail, head, '    ')}", nl=False)
    click.echo(f"  {click.style(package, dim=True)}" if package else "")
    if finding.status not in ("ready", "installed"):
        click.echo(f"    {_wrapped(finding.detail, 4, '    ')}")
    _advice(finding.hint)


def _print_end(report: Report) -> None:
    problems = report.problems
    if problems:
        click.secho(_wrapped(f"Needs attention: {', '.join(problems)}.", 0, "  "), bold=True)
        if report.nobody_chose:
            click.echo("You have not chosen a format yet: `lollms doctor --all` shows which of them would answer here.")
        if report.failures and not current_state().debug:
            click.echo("--debug shows the tracebacks.")
        return
    name = report.reached or (report.chosen if report.chosen in report.asked else next(iter(report.findings)))
    options = report.again or ("" if name == report.chosen else f" -f {name}")
    certain = report.findings[name].status == "ready"
    head = "All is well" if certain else "Nothing is wrong as far as can be seen"
    click.echo(_wrapped(f'{head}: `lollms generate{options} "Hello!"` will ask {name}.', 0, "  "))


def _line(text: str, *, sign: str = "", colour: str = "") -> None:
    click.echo(f"{click.style(sign, fg=colour) if sign else ''}{_wrapped(text, len(sign), '    ')}")


def _advice(hint: str) -> None:
    if hint:
        click.echo(f"    {click.style('→', fg='cyan')} {_wrapped(hint, 6, '      ')}")


def _wrapped(text: str, column: int, hanging: str) -> str:
    return wrap(printable(redacted(text)), columns(sys.stdout), column=column, hanging=hanging)
