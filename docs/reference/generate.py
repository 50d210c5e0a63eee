"""Write the pages of the reference that come from the code, in English and in Chinese.

python docs/reference/generate.py
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from textwrap import dedent
from types import FunctionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperGroup

import compiler
from compiler import errors
from compiler.cli.app import app as modc
from compiler.cli.vamp import app as vamp
from compiler.config.schema import reference as build_file_reference
from compiler.evaluate.definitions import METRICS, Definition

Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True)
class Words:
    """A text in both languages."""

    en: str
    zh: str

    def of(self, language: Language) -> str:
        return self.en if language == "en" else self.zh


GENERATED = Words(
    "This page is generated from the code.",
    "本页由代码生成，表格中的说明保留英文原文。",
)


# Build file


def build_file(language: Language) -> str:
    """Every key of a build file."""
    page = build_file_reference()
    if language == "en":
        return page
    introduction, top, rest = page.partition("## Top level\n")
    command = introduction.split("```")[1]
    head = BUILD_FILE_CHINESE.format(command=f"```{command}```")
    rest = rest.replace("| key | type | default | meaning |", "| 键 | 类型 | 默认值 | 含义 |")
    rest = rest.replace("*Accepted and ignored.*", "*接受但忽略。*")
    return f"{head}\n{top.replace('Top level', '顶层')}{rest}"


BUILD_FILE_CHINESE = """\
# 构建文件

{command}

写出本页的 JSON Schema；`build_configs/modc.schema.json` 是同一个文件。带有 YAML 语言服务器的编辑器
会检查以 `# yaml-language-server: $schema=modc.schema.json` 开头的构建文件。

标有*接受但忽略*的键出现在公开的构建文件中，在本机上不起作用。这里没有列出的键会被拒绝，
`backend.compile` 和 `backend.dynamic_params` 之下的除外。值为 null 的键等于没有写，`div255` 和
`norm_type` 除外。较旧的写法会被转换；`modc migrate old.yaml` 写出当前的写法。本页由
`compiler/config/` 生成，表格中的说明保留英文原文。
"""


# Commands


def commands(language: Language) -> str:
    """Every command with its arguments and options."""
    head = Words(
        "# Commands\n\n"
        "`compile` is short for `modc compile`, and `vamc` another name of `modc`. "
        "`--help` behind any command prints what stands here. "
        f"{GENERATED.en} [Exit codes](exit_codes.md).",
        "# 命令\n\n"
        "`compile` 是 `modc compile` 的简写，`vamc` 是 `modc` 的另一个名字。"
        "在任何命令后面加上 `--help` 会打印这里的内容。"
        f"{GENERATED.zh}[退出码](exit_codes.md)。",
    )
    sections = [
        _command(name, command, language)
        for program in (modc, vamp)
        for name, command in _walk(str(program.info.name), typer.main.get_command(program))
    ]
    return "\n\n".join([head.of(language), *sections]) + "\n"


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:  # Any: typer's click has no types
    if not command.hidden and (command.params or not isinstance(command, TyperGroup)):
        yield name, command
    for word, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _walk(f"{name} {word}", inner)


def _command(name: str, command: Any, language: Language) -> str:  # Any: as above
    text, _, example = inspect.cleandoc(command.help or "").partition("Example: ")
    parts = [f"## {name}", _safe(text.strip())]
    if command.epilog:
        parts.append(_safe(command.epilog))
    if example:
        parts.append(f"```sh\n{' '.join(example.split())}\n```")
    choices = _choices(command.callback)
    rows = [
        _option(parameter, choices)
        for parameter in command.params
        if not getattr(parameter, "hidden", False)
    ]
    if rows:
        head = Words("| argument, option | default | effect |", "| 参数、选项 | 默认值 | 作用 |")
        parts.append("\n".join([head.of(language), "|---|---|---|", *rows]))
    return "\n\n".join(part for part in parts if part)


def _option(parameter: Any, choices: Mapping[str, str]) -> str:  # Any: as above
    default = parameter.default
    if parameter.param_type_name == "argument":
        names = parameter.metavar or parameter.name.upper()
        shown = f"`{names}`"
    else:
        value = parameter.metavar or choices.get(parameter.name) or parameter.name.upper()
        value = "" if parameter.is_flag else f" {value}"
        names = [*parameter.opts, *parameter.secondary_opts]
        shown = ", ".join(f"`{name}{value}`" for name in names)
    stated = default not in (None, False, (), []) and not callable(default)
    return (
        f"| {_cell(shown)} | {f'`{default}`' if stated else ''} | {_cell(_safe(parameter.help))} |"
    )


def _choices(callback: Callable[..., Any] | None) -> dict[str, str]:  # Any: any command
    """The values that parameters of a command are limited to, by parameter."""
    if callback is None:
        return {}
    found = {}
    for name, kind in get_type_hints(inspect.unwrap(callback)).items():
        for option in (kind, *get_args(kind)):
            if get_origin(option) is Literal:
                found[name] = "|".join(get_args(option))
    return found


# Exit codes


def exit_codes(language: Language) -> str:
    """Every exit code with the class that carries it."""
    head = Words(
        "# Exit codes\n\n"
        "`modc`, `vamc`, `compile` and `vamp` end with these. From Python, the classes are raised: "
        "all are subclasses of `compiler.ModcError`, with `what`, `where`, `fix` and `exit_code`. "
        f"{GENERATED.en}\n\n"
        "| code | class in `compiler.errors` | meaning |",
        "# 退出码\n\n"
        "`modc`、`vamc`、`compile` 和 `vamp` 以这些退出码结束。在 Python 中抛出相应的类：它们都是 "
        "`compiler.ModcError` 的子类，带有 `what`、`where`、`fix` 和 `exit_code`。"
        f"{GENERATED.zh}\n\n"
        "| 退出码 | `compiler.errors` 中的类 | 含义 |",
    )
    done = Words("Done.", "完成。")
    refused = Words(
        "The operating system refuses: a locked folder, a full disk; or the answer of "
        "`modc diff --exit-code`.",
        "操作系统拒绝：文件夹被锁定、磁盘已满；或者是 `modc diff --exit-code` 的回答。",
    )
    interrupted = Words("Interrupted.", "被中断。")
    classes = sorted(errors.ModcError.__subclasses__(), key=lambda kind: kind.exit_code)
    rows = [
        (0, "", done.of(language)),
        (1, "", refused.of(language)),
        *((kind.exit_code, f"`{kind.__name__}`", inspect.getdoc(kind)) for kind in classes),
        (130, "", interrupted.of(language)),
    ]
    return "\n".join([head.of(language), "|---|---|---|", *map(_row, rows), ""])


# Metrics


def metrics(language: Language) -> str:
    """Every metric of `modc eval`."""
    head = Words(
        "# Metrics\n\n"
        "What `modc eval --metric` knows for segmentation ([how](../how_to/evaluate.md)); `topk` "
        "and `coco` are for classification and detection. P is the prediction, T the truth. "
        "*Pooled* figures are ratios of sums over the data set, those *of images* are means of the "
        f"images' own. {GENERATED.en}\n\n"
        "## To be used\n\n"
        "| name | computes | family | masks |",
        "# 指标\n\n"
        "`modc eval --metric` 为分割提供的指标（[用法](../how_to/evaluate.md)）；`topk` 和 `coco` "
        "用于分类和检测。P 是预测，T 是真值。*pooled* 指标是整个数据集之和的比值，*of images* "
        f"指标是各图像指标的平均值。{GENERATED.zh}\n\n"
        "## 应使用的指标\n\n"
        "| 名称 | 计算内容 | 类别 | 掩码 |",
    )
    published = Words(
        "## As published\n\n"
        "The published evaluation scripts, faults included, to compare with their figures. The "
        "last column is what to use instead.\n\n"
        "| name | computes | used by | masks | fault | use |",
        "## 公开脚本的指标\n\n"
        "与公开的评估脚本一致，包括其中的错误，用于与它们的数字比较。最后一列是应改用的指标。\n\n"
        "| 名称 | 计算内容 | 使用者 | 掩码 | 错误 | 改用 |",
    )
    own = [
        (f"`{name}`", row.title, row.family, row.truth)
        for name, row in METRICS.items()
        if not row.fault
    ]
    theirs = [_published(name, row) for name, row in METRICS.items() if row.fault]
    lines = [head.of(language), "|---|---|---|---|", *map(_row, own), ""]
    lines += [published.of(language), "|---|---|---|---|---|---|", *map(_row, theirs), ""]
    return "\n".join(lines)


def _published(name: str, row: Definition) -> tuple[str, ...]:
    return (f"`{name}`", row.title, row.users, row.truth, row.fault, f"`{row.corrected}`")


# Python


def python(language: Language) -> str:
    """Every public name of the package."""
    head = Words(
        f"# Python\n\n{GENERATED.en} [How to use it](../how_to/python.md).",
        f"# Python\n\n{GENERATED.zh}[使用方法](../how_to/python.md)。",
    )
    names = sorted(compiler.__all__, key=str.lower)
    sections = [_public(name, getattr(compiler, name), language) for name in names]
    return "\n\n".join([head.of(language), *sections]) + "\n"


def _public(name: str, thing: Any, language: Language) -> str:  # Any: a class or a function
    if not inspect.isclass(thing):
        return _documented("##", name, thing, language)
    parts = [_documented("##", name, thing, language)]
    for inner, value in vars(thing).items():
        if not inner.startswith("_"):
            function = value.fget if isinstance(value, property) else value
            if isinstance(function, FunctionType) and inspect.getdoc(function):
                parts.append(_documented("###", f"{name}.{inner}", value, language))
    return "\n\n".join(parts)


def _documented(marks: str, name: str, thing: Any, language: Language) -> str:  # Any: as above
    parts = [f"{marks} {name}", _signature(name.rpartition(".")[2], thing)]
    text, *sections = re.split(r"^(Args|Returns|Raises|Example):\n", _doc(thing), flags=re.M)
    parts.append(_safe(text.strip()))
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        body = dedent(body).strip()
        if title in ("Args", "Raises"):
            first = HEADS[title].of(language)
            parts.append("\n".join([first, "|---|---|", *map(_row, _entries(body))]))
        elif title == "Returns":
            parts.append(f"{HEADS[title].of(language)} {_safe(' '.join(body.split()))}")
    return "\n\n".join(part for part in parts if part)


HEADS = {
    "Args": Words("| name | meaning |", "| 名称 | 含义 |"),
    "Raises": Words("| raises | when |", "| 抛出 | 何时 |"),
    "Returns": Words("Returns:", "返回："),
}


def _doc(thing: object) -> str:
    return inspect.getdoc(thing) or ""


def _entries(body: str) -> list[tuple[str, str]]:
    found = re.split(r"^(\w+): ", body, flags=re.M)[1:]
    pairs = zip(found[::2], found[1::2], strict=True)
    return [(f"`{name}`", _safe(" ".join(text.split()))) for name, text in pairs]


def _signature(name: str, thing: Any) -> str:  # Any: as above
    """The signature as the source writes it, one argument a line where it is long."""
    if isinstance(thing, property) or is_dataclass(thing):
        return ""  # a dataclass is given, not made
    function = thing.__init__ if inspect.isclass(thing) else thing
    (tree,) = ast.parse(dedent(inspect.getsource(inspect.unwrap(function)))).body
    if not isinstance(tree, ast.FunctionDef):
        raise TypeError(f"{name} is no function")
    if tree.args.args and tree.args.args[0].arg == "self":
        del tree.args.args[0]
    result = (
        "" if inspect.isclass(thing) or not tree.returns else f" -> {ast.unparse(tree.returns)}"
    )
    line = f"{name}({ast.unparse(tree.args)}){result}"
    if len(line) > 88:
        arguments = re.split(r", (?=\*|\w+(?::|$))", ast.unparse(tree.args))
        inner = "".join(f"    {argument},\n" for argument in arguments)
        line = f"{name}(\n{inner}){result}"
    return f"```text\n{line}\n```"


# Markdown


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(_cell(str(cell)) for cell in cells)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _safe(text: str | None) -> str:
    """Text in which nothing outside backticks is taken for markup."""
    parts = (text or "").split("`")
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"[<*\[\]]", lambda mark: f"\\{mark[0]}", parts[index])
    return "`".join(parts)


PAGES: Mapping[str, Callable[[Language], str]] = {
    "build_file": build_file,
    "commands": commands,
    "exit_codes": exit_codes,
    "metrics": metrics,
    "python": python,
}


def main(folder: Path) -> None:
    """Write all pages into a folder."""
    for name, page in PAGES.items():
        (folder / f"{name}.md").write_text(page("en"), encoding="utf-8")
        (folder / f"{name}.zh.md").write_text(page("zh"), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
