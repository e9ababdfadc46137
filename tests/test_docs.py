"""The README and the documentation: code runs, links lead somewhere, every public name is in the reference."""

import importlib
import inspect
import pkgutil
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
from markdown.extensions.toc import slugify

import agents
import optenv
from agents import cli

if sys.version_info >= (3, 11):
    import tomllib

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TOPS = ("agents", "benchmarks", "docs", "examples", "optenv", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"`((?:optcontrol|python|make|torchrun|pip) [^`\n]+)`")
PLACEHOLDER = re.compile(r"\b(NAME|FIRST|RUN|\.\.\.)\b|\.\.\.")


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return [code for found, code in FENCE.findall(page.read_text()) if found == language]


WITH_CODE = [page for page in PAGES if blocks(page, "python")]


def stale_lines(excerpt: str) -> list[str]:
    """Return the lines of an excerpt that the file which it names does not hold in this order; '...' stands for any."""
    head, *lines = excerpt.splitlines()
    left = iter((ROOT / head.removeprefix("# from ")).read_text().splitlines())
    return [line for line in lines if line.strip() not in ("", "...") and line not in left]


def runs_on(page: Path) -> set[str]:
    """Return the commands that are cheap enough to be run as they are written, on the first page that shows them."""
    before = {
        line for other in PAGES[: PAGES.index(page)] for code in blocks(other, "bash") for line in code.splitlines()
    }
    shown = {line for code in blocks(page, "bash") for line in code.splitlines()}
    return {
        line for line in shown - before if re.match(r"optcontrol (list|plot|--version|compare .*--workers 1$)", line)
    }


def run_command(line: str) -> None:
    try:
        code = cli.main(shlex.split(line)[1:])
    except SystemExit as end:
        code = end.code
    assert not code, line


@pytest.mark.usefixtures("own_rows_are_forgotten")
@pytest.mark.parametrize("page", WITH_CODE, ids=page_name)
def test_what_a_page_shows_runs_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    names: dict[str, object] = {}
    commands = runs_on(page)
    for language, code in FENCE.findall(page.read_text()):
        if code.startswith("# from "):
            assert stale_lines(code) == []
        elif language == "python":
            exec(compile(code, page.name, "exec"), names)
        elif language == "bash":
            for line in filter(commands.__contains__, code.splitlines()):
                run_command(line)


def test_the_first_page_runs_its_commands():
    assert {line.split()[1] for line in runs_on(DOCS / "index.md")} == {"list", "plot", "compare", "--version"}


def test_an_excerpt_that_its_file_does_not_hold_is_stale():
    assert stale_lines("# from examples/gym_loop.py\nimport gymnasium\n...\n    env.reset(seed=1)") == [
        "    env.reset(seed=1)"
    ]
    assert stale_lines(
        "# from examples/gym_loop.py\nimport optenv  # noqa: F401 - registers OptControl-v0\nimport gymnasium"
    ) == ["import gymnasium"]


def test_the_pages_that_show_code_are_there():
    assert {"README.md", *(f"docs/{name}.md" for name in ("index", "steer", "train", "extend"))} <= set(
        map(page_name, WITH_CODE)
    )


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as mkdocs and GitHub make them."""
    return {
        slugify(re.sub(r"[`*]", "", title), "-") for title in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    }


def broken_links(page: Path, text: str) -> list[str]:
    """Return the links and images of a page's text that lead to no file, or to no heading of it."""
    broken = []
    for link in LINK.findall(FENCE.sub("", text)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_and_images_lead_somewhere(page):
    assert broken_links(page, page.read_text()) == []


def test_a_broken_link_is_found():
    text = "[a](docs/index.md#install) [b](docs/nowhere.md) [c](docs/index.md#nowhere) ![d](docs/images/nothing.png)"
    assert broken_links(ROOT / "README.md", text) == [
        "docs/nowhere.md",
        "docs/index.md#nowhere",
        "docs/images/nothing.png",
    ]


def test_every_picture_is_shown():
    shown = {Path(link).name for page in PAGES for link in LINK.findall(page.read_text())}
    assert {picture.name for picture in (DOCS / "images").iterdir()} - shown == set()


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}


def commands() -> list[str]:
    """Return every command that the README and the pages show, each once."""
    found = []
    for page in PAGES:
        text = page.read_text()
        shown = [line for code in blocks(page, "bash") for line in code.splitlines()]
        shown += re.findall(r"^ {4}((?:make|optcontrol|ray) .*)$", text, re.MULTILINE)
        found += [line.partition("  #")[0].strip() for line in [*shown, *COMMAND.findall(text)]]
    return [line for line in dict.fromkeys(found) if line and not PLACEHOLDER.search(line)]


@pytest.fixture
def parse(monkeypatch):
    """Parse the arguments of `optcontrol` without doing what they say; of a command named alone, that there is one."""
    parsed: list[object] = []
    monkeypatch.setattr(cli, "run", lambda parser, arguments: parsed.append(parser.parse_args(arguments)))

    def parse(arguments):
        try:
            cli.main(arguments if len(arguments) > 1 else [*arguments, "--help"])
        except SystemExit as end:
            assert end.code == 0, arguments

    return parse


def extras() -> set[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return set(tomllib.load(file)["project"]["optional-dependencies"])


def check_file(arguments: list[str]) -> None:
    """Check that a command's Python file is there, and knows the options that it is given."""
    place = next(i for i, argument in enumerate(arguments) if argument.endswith(".py"))
    code = (ROOT / arguments[place]).read_text()
    assert [option for option in arguments[place + 1 :] if option.startswith("--") and option not in code] == []


@pytest.mark.parametrize("command", commands())
def test_a_command_is_one_that_there_is(command, parse):
    program, *arguments = shlex.split(command)
    if program == "optcontrol":
        parse(arguments)
    elif arguments[:1] == ["train_agent.py"]:
        parse(["train", *arguments[1:]])
    elif arguments[:2] == ["-m", "agents"]:
        parse([*arguments[2:], "--help"])
    elif program in ("python", "torchrun"):
        check_file(arguments)
    elif program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program == "pip" and sys.version_info >= (3, 11):
        named = re.findall(r"\[([\w,]+)\]", command)
        assert {extra for names in named for extra in names.split(",")} <= extras()


def test_an_option_that_there_is_not_is_found(parse):
    with pytest.raises(ValueError, match="--nothing"):
        parse(["compare", "--controllers", "ppo", "--nothing"])


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_files_of_the_project_that_a_page_names_are_there(page):
    if page.name in ("CHANGELOG.md", "research.md"):
        return  # which tell of the past
    named = set(re.findall(r"`([\w/.]*\w\.(?:py|csv|md|yml|toml))`", page.read_text()))
    files = {f"/{file.relative_to(ROOT)}" for top in TOPS for file in (ROOT / top).rglob("*")}
    files |= {f"/{file.name}" for file in ROOT.iterdir()}
    assert [name for name in sorted(named) if not any(file.endswith(f"/{name}") for file in files)] == []


def public_names() -> list[str]:
    """Return every name in `__all__` of the packages, as package.name."""
    names = []
    for package in (optenv, agents):
        inner = [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.") if m.ispkg]
        for module in map(importlib.import_module, [package.__name__, *inner]):
            names += [f"{module.__name__}.{name}" for name in getattr(module, "__all__", ())]
    return names


DOCUMENTED = [
    entry
    for page in sorted(DOCS.glob("reference/*.md"))
    for entry in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.MULTILINE)
]


def test_every_public_name_is_in_the_reference():
    def is_documented(name: str) -> bool:
        package, _, last = name.rpartition(".")
        return any(entry.startswith(f"{package}.") and entry.endswith(f".{last}") for entry in DOCUMENTED)

    assert len(public_names()) > 30
    assert [name for name in public_names() if not is_documented(name)] == []
    assert len(DOCUMENTED) == len(set(DOCUMENTED))


def contracts(entry: str) -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Yield what has a contract of its own: a function, or a constructor and the methods that no base class defines.

    Each is its name, the function, and the docstring that has to say what it takes and raises.
    """
    module, _, name = entry.rpartition(".")
    thing = getattr(importlib.import_module(module), name)
    if inspect.isfunction(thing):
        yield entry, thing, thing.__doc__ or ""
    if inspect.isclass(thing):
        above = [vars(base) for base in thing.__mro__[1:]]
        constructor = vars(thing).get("__init__")
        if inspect.isfunction(constructor) and not is_dataclass(thing):
            yield entry, constructor, f"{thing.__doc__}{constructor.__doc__}"
        for key, method in vars(thing).items():
            own = inspect.isfunction(method) and method.__qualname__ == f"{thing.__qualname__}.{key}"
            if own and not key.startswith("_") and not any(key in names for names in above):
                yield f"{entry}.{key}", method, method.__doc__ or ""


def unsaid(function: Callable[..., Any], text: str) -> list[str]:
    """Return the arguments that a docstring does not name, and "Raises" where it keeps that quiet."""
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    raises = re.search(r"^ +raise \w+Error", inspect.getsource(function), re.MULTILINE) and "Raises:" not in text
    return [name for name in names if not re.search(rf"\b{name}", text)] + ["Raises"] * bool(raises)


@pytest.mark.parametrize("entry", DOCUMENTED)
def test_a_docstring_in_the_reference_names_every_argument_and_error(entry):
    said = {name: unsaid(function, text) for name, function, text in contracts(entry)}
    assert {name: missing for name, missing in said.items() if missing} == {}


def test_an_argument_that_is_not_described_is_found():
    def halve(number: float, power: int) -> float:
        """Halve a number."""
        if power < 1:
            raise ValueError(power)
        return number / 2

    assert unsaid(halve, halve.__doc__ or "") == ["power", "Raises"]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
