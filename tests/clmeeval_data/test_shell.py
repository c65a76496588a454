import pytest
import typer

from clmeeval_data.errors import ClmeevalError, ConfigError, DatasetError
from clmeeval_data.shell import run_app

STOPPED = "stopped. Finished work is kept; the same command again continues from there."


def run(monkeypatch, capsys, command, *arguments):
    """Run a one-command app; its exit code and what it wrote to stdout and stderr."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    monkeypatch.setattr("sys.argv", ["clmeeval-test", *arguments])
    with pytest.raises(SystemExit) as ended:
        run_app(app)
    written = capsys.readouterr()
    return ended.value.code, written.out, written.err


def test_success_is_exit_code_0(monkeypatch, capsys):
    assert run(monkeypatch, capsys, lambda: typer.echo("done")) == (0, "done\n", "")


@pytest.mark.parametrize("error", [ClmeevalError, ConfigError, DatasetError])
def test_an_expected_error_is_one_line_and_exit_code_2(monkeypatch, capsys, error):
    def fail():
        raise error("empty target in row 7.\n  Expected text.\nDrop the row.")

    assert run(monkeypatch, capsys, fail) == (2, "", "error: empty target in row 7. Expected text. Drop the row.\n")


@pytest.mark.parametrize("arguments", [["--limt", "3"], ["--limit", "x"], ["--limit"], ["extra"]])
def test_a_wrong_argument_is_one_line_and_exit_code_2(monkeypatch, capsys, arguments):
    def command(limit: int = 1):
        raise AssertionError(limit)

    code, out, err = run(monkeypatch, capsys, command, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.endswith("--help'.\n") and err.count("\n") == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, typer.Abort])
def test_an_interrupt_is_one_line_and_exit_code_130(monkeypatch, capsys, interrupt):
    def stop():
        raise interrupt

    code, out, err = run(monkeypatch, capsys, stop)
    assert (code, out, err.strip()) == (130, "", STOPPED)


def test_an_exit_code_is_passed_on(monkeypatch, capsys):
    def leave():
        raise typer.Exit(1)

    assert run(monkeypatch, capsys, leave)[0] == 1


def test_a_bug_keeps_its_traceback(monkeypatch):
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def crash():
        raise ZeroDivisionError

    monkeypatch.setattr("sys.argv", ["clmeeval-test"])
    with pytest.raises(ZeroDivisionError):
        run_app(app)


def test_help_is_exit_code_0(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, lambda: None, "--help")
    assert code == 0
    assert "Usage" in out


def test_no_arguments_at_all_is_the_help_and_exit_code_2(monkeypatch, capsys):
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
    for name in ("one", "two"):
        app.command(name)(lambda: None)
    monkeypatch.setattr("sys.argv", ["clmeeval-test"])
    with pytest.raises(SystemExit) as ended:
        run_app(app)
    written = capsys.readouterr()
    assert ended.value.code == 2
    assert "Usage" in written.out + written.err
    assert "error" not in written.err
